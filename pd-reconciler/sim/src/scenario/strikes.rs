//! What strikes the cluster of a scenario, and what ends that.

use super::Drawn;
use crate::{
    chance::Chance,
    events::{Micros, SECOND},
    world::{Fault, Whose, World},
};

/// What one try takes where nothing can be set up: five seconds until the next, and the way there and back.
const SPOILT_TRY: Micros = 6 * SECOND;

pub(super) fn draw_faults(world: &mut World, drawn: &Drawn, chance: &mut Chance) {
    let count = chance.between(2, 24);
    let nodes = drawn.nodes.len();
    let mut dead = 0;
    if chance.permille(400) {
        world.strike(0, Fault::Weather(chance.pick(&[5, 50, 200]), chance.pick(&[0, 50, 300])));
        // Whoever loses messages decides on old news.
        world.checks.is_strict = false;
    }
    for _ in 0..count {
        let at = chance.below(drawn.heal_at);
        let until = at + (chance.log_between(0.3, 60.0) * 1e6) as Micros;
        let node = chance.below(nodes as u64) as usize;
        match chance.below(if drawn.shakes_control { 12 } else { 9 }) {
            0 | 1 => strike_for(world, drawn, (at, until), Fault::Kill(node), Fault::Start(node)),
            2 => strike_for(world, drawn, (at, until), Fault::Freeze(node), Fault::Thaw(node)),
            3 => strike_for(world, drawn, (at, until), Fault::Cut(node, true, true), Fault::Mend(node)),
            4 => {
                let out = chance.permille(500);
                strike_for(world, drawn, (at, until), Fault::Cut(node, out, !out), Fault::Mend(node));
            }
            5 => strike_for(world, drawn, (at, until), Fault::Throttle(node, 0.05), Fault::Throttle(node, 1.0)),
            6 => strike_for(world, drawn, (at, until), Fault::Throttle(node, chance.unit() + 0.1), Fault::Mend(node)),
            7 => strike_for(world, drawn, (at, until), Fault::Wipe(node), Fault::Start(node)),
            8 if dead + 1 < nodes && chance.permille(300) => {
                // The first ones die, so that they are different ones.
                world.strike(at, Fault::Die(nodes - 1 - dead));
                dead += 1;
            }
            9 => strike_for(world, drawn, (at, until), Fault::StopServer, Fault::StartServer),
            10 => {
                let number = chance.below(drawn.reconcilers as u64) as usize;
                let (cut, mend) = (Fault::CutReconciler(number), Fault::MendReconciler(number));
                world.checks.is_strict = false;
                strike_for(world, drawn, (at, until), cut, mend);
            }
            11 => {
                let number = chance.below(drawn.reconcilers as u64) as usize;
                let (kill, start) = (Fault::KillReconciler(number), Fault::StartReconciler(number));
                strike_for(world, drawn, (at, at + (until - at) / 10), kill, start);
            }
            _ => {}
        }
    }
}

/// In half of the scenarios people suspend jobs and resume them, change their parallelism, cordon and drain nodes.
pub(super) fn draw_people(world: &mut World, drawn: &Drawn, chance: &mut Chance) {
    if chance.permille(500) {
        return;
    }
    for _ in 0..chance.between(1, 6) {
        let at = chance.below(drawn.heal_at);
        let span = (at, at + (chance.log_between(0.1, 120.0) * 1e6) as Micros);
        let (job, node) = (chance.below(drawn.jobs), chance.below(drawn.nodes.len() as u64) as usize);
        match chance.below(4) {
            0 => strike_for(world, drawn, span, Fault::Suspend(job, true), Fault::Suspend(job, false)),
            1 => {
                let slots = chance.between(1, 4) as u32;
                strike_for(world, drawn, span, Fault::Parallelism(job, Some(slots)), Fault::Parallelism(job, None));
            }
            drains => strike_for(world, drawn, span, Fault::Cordon(node, drains == 3), Fault::Uncordon(node)),
        }
    }
}

/// In a third of the scenarios executors die; in a quarter of those with several jobs a user deletes one.
pub(super) fn draw_deaths(world: &mut World, drawn: &Drawn, chance: &mut Chance) {
    let times = if chance.permille(333) { chance.between(1, 6) } else { 0 };
    for _ in 0..times {
        let node = chance.below(drawn.nodes.len() as u64) as usize;
        world.strike(chance.below(drawn.heal_at), Fault::KillExecutors(node));
    }
    if drawn.jobs > 1 && chance.permille(250) {
        world.strike(chance.below(drawn.heal_at), Fault::Delete(chance.below(drawn.jobs)));
    }
}

/// In half of the scenarios nodes cannot set jobs up for a while; in a tenth one node never can set up one of them.
pub(super) fn draw_spoilt(world: &mut World, drawn: &mut Drawn, chance: &mut Chance) {
    let nodes = drawn.nodes.len() as u64;
    let times = if chance.permille(500) { chance.between(1, 8) } else { 0 };
    for _ in 0..times {
        let at = chance.below(drawn.heal_at);
        // Longer than other faults: it shows only where something is set up, or begins.
        let span = (at, at + (chance.log_between(1.0, 1200.0) * 1e6) as Micros);
        let (node, job) = (chance.below(nodes) as usize, Whose::Job(chance.below(drawn.jobs)));
        let whose = chance.pick(&[Whose::All, job]);
        strike_for(world, drawn, span, Fault::SpoilSetUp(node, whose), Fault::MendSetUp(node, whose));
    }
    if chance.permille(100) {
        let (node, job) = (chance.below(nodes) as usize, chance.below(drawn.jobs));
        world.strike(0, Fault::SpoilSetUp(node, Whose::Job(job)));
        // It is trusted with one index after the other, and where no other node is left each fails there until its
        // tries are used up.
        drawn.work_done_by += world.tries(job) * SPOILT_TRY;
    }
}

pub(super) fn strike_for(world: &mut World, drawn: &Drawn, span: (Micros, Micros), start: Fault, end: Fault) {
    world.strike(span.0, start);
    world.strike(span.1.min(drawn.heal_at), end);
}

/// Everything that can be well is well from now on.
pub(super) fn heal(world: &mut World, drawn: &Drawn) {
    let at = drawn.heal_at + 1;
    for node in 0..drawn.nodes.len() {
        for end in [
            Fault::Start(node),
            Fault::Thaw(node),
            Fault::Mend(node),
            Fault::Throttle(node, 1.0),
            Fault::Uncordon(node),
            Fault::Untaint(node),
        ] {
            world.strike(at, end);
        }
    }
    // The first node never dies: it can take what no other one may.
    world.strike(at, Fault::Furnish(0));
    world.strike(at, Fault::Abandon);
    world.strike(at, Fault::Weather(0, 0));
    world.strike(at, Fault::StartServer);
    (0..drawn.jobs).for_each(|job| world.strike(at, Fault::Suspend(job, false)));
    for number in 0..drawn.reconcilers {
        world.strike(at, Fault::StartReconciler(number));
        world.strike(at, Fault::MendReconciler(number));
    }
}
