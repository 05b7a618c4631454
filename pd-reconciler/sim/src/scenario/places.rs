//! Places: which nodes may run which jobs. Labels and taints of machines, taints that come and go, and what jobs select
//! and tolerate.

use std::collections::BTreeMap;

use pd_plan::{Effect, Taint};
use schemas::job::{Placement, Toleration, TolerationOperator};

use super::{Drawn, strikes::strike_for};
use crate::{
    chance::Chance,
    events::Micros,
    world::{Fault, UPKEEP, World},
};

/// Labels that a machine may carry.
pub(super) const LABELS: [&str; 2] = ["fast-disk", "gpu"];
/// Key of the taint that a machine may join with.
const DEDICATED: &str = "dedicated";
/// Its values.
const TEAMS: [&str; 2] = ["astronomy", "biology"];
const EFFECTS: [Effect; 3] = [Effect::NoSchedule, Effect::PreferNoSchedule, Effect::NoExecute];

/// In two fifths of the scenarios machines differ and are tainted for a while.
pub(super) fn draw_machines(world: &mut World, drawn: &Drawn, chance: &mut Chance) {
    for node in 0..drawn.nodes.len() {
        let labels = LABELS.into_iter().filter(|_| chance.permille(500)).map(|label| (label.to_owned(), String::new()));
        let labels: BTreeMap<String, String> = labels.collect();
        let taint = Taint { key: DEDICATED.into(), value: chance.pick(&TEAMS).into(), effect: chance.pick(&EFFECTS) };
        let taints = if chance.permille(300) { vec![taint] } else { vec![] };
        world.furnish(node, labels, taints);
    }
    for _ in 0..chance.below(7) {
        let at = chance.below(drawn.heal_at);
        let span = (at, at + (chance.log_between(0.1, 120.0) * 1e6) as Micros);
        let (node, effect) = (chance.below(drawn.nodes.len() as u64) as usize, chance.pick(&EFFECTS));
        strike_for(world, drawn, span, Fault::Taint(node, effect), Fault::Untaint(node));
    }
}

/// What one job selects and tolerates.
pub(super) fn draw_placement(chance: &mut Chance) -> Placement {
    let mut placement = Placement::default();
    if chance.permille(300) {
        placement.node_selector.insert(chance.pick(&LABELS).into(), String::new());
    }
    let team = Some(chance.pick(&TEAMS).to_owned());
    let exists = |key: Option<&str>, effect: Option<Effect>| Toleration {
        key: key.map(str::to_owned),
        operator: TolerationOperator::Exists,
        value: None,
        effect: effect.map(|effect| effect.name().to_owned()),
    };
    let toleration = match chance.below(8) {
        0 => exists(None, None),
        1 => exists(Some(UPKEEP), Some(Effect::NoExecute)),
        2 => exists(Some(DEDICATED), None),
        3 => Toleration { key: Some(DEDICATED.into()), value: team, ..Toleration::default() },
        _ => return placement,
    };
    placement.tolerations.push(toleration);
    placement
}
