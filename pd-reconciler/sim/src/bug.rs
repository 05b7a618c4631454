//! The bug museum: faults of logic that the simulated shell can be given, to show that the simulator would find
//! them. Each lives in the simulation alone; the real plan and the real `sync` know nothing of it.

use std::{fmt, str::FromStr};

/// A planted bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// The plan is told that every node has observed its spec: a thief is given what the victim may have
    /// started.
    ThiefBeforeAck,
    /// A kubelet acknowledges a spec that took work away and goes on with its old queue.
    AckBeforeDrop,
    /// The API server takes a status from another registration of a node.
    ForeignReport,
    /// What a lost node has committed is forgotten and done again.
    LostWorkRedone,
    /// What a node retained of a withdrawn range is taken for free.
    RetainedForgotten,
    /// An index that two nodes delivered is counted twice.
    CopyCountedTwice,
    /// The reconciler does not wake when its plan asked for it.
    WakeLost,
    /// A kubelet that starts takes nothing over from the server and reports what it has, which is less.
    AdoptionForgotten,
    /// A kubelet frees a slot that is still busy.
    SlotsOverrun,
    /// The reconciler does not know of the quotas of jobs.
    QuotaForgotten,
    /// A kubelet goes on with an Assignment that was deleted.
    DeletionMissed,
    /// A kubelet whose set-up of a job has failed never tries it again.
    SetUpNotForgiven,
    /// The reconciler allows each index a try more than its job does.
    LimitForgotten,
    /// The reconciler does not know the rules of failure policies.
    RulesForgotten,
    /// The reconciler does not know of the taints of nodes.
    TaintForgotten,
    /// The reconciler does not know whom jobs wait for.
    DependencyForgotten,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::ThiefBeforeAck,
        Self::AckBeforeDrop,
        Self::ForeignReport,
        Self::LostWorkRedone,
        Self::RetainedForgotten,
        Self::CopyCountedTwice,
        Self::WakeLost,
        Self::AdoptionForgotten,
        Self::SlotsOverrun,
        Self::QuotaForgotten,
        Self::DeletionMissed,
        Self::SetUpNotForgiven,
        Self::LimitForgotten,
        Self::RulesForgotten,
        Self::TaintForgotten,
        Self::DependencyForgotten,
    ];

    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ThiefBeforeAck => "thief-before-ack",
            Self::AckBeforeDrop => "ack-before-drop",
            Self::ForeignReport => "foreign-report",
            Self::LostWorkRedone => "lost-work-redone",
            Self::RetainedForgotten => "retained-forgotten",
            Self::CopyCountedTwice => "copy-counted-twice",
            Self::WakeLost => "wake-lost",
            Self::AdoptionForgotten => "adoption-forgotten",
            Self::SlotsOverrun => "slots-overrun",
            Self::QuotaForgotten => "quota-forgotten",
            Self::DeletionMissed => "deletion-missed",
            Self::SetUpNotForgiven => "set-up-not-forgiven",
            Self::LimitForgotten => "limit-forgotten",
            Self::RulesForgotten => "rules-forgotten",
            Self::TaintForgotten => "taint-forgotten",
            Self::DependencyForgotten => "dependency-forgotten",
        }
    }
}

impl fmt::Display for Bug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Bug {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = || Self::ALL.map(Self::name).join(", ");
        Self::ALL
            .into_iter()
            .find(|bug| bug.name() == text)
            .ok_or_else(|| format!("no such bug; there are {}", names()))
    }
}
