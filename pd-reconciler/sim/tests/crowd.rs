//! Many jobs on many nodes: each has nodes of its own, and all of them end nearly when their work allows.

use pd_sim::crowd::Crowd;

/// 60 jobs on 100 nodes are 6,000 pairs where jobs take turns on every node.
const CROWD: Crowd = Crowd { nodes: 100, jobs: 60, indexes: 100, cost: 100_000, apart: 2_000 };

#[test]
fn a_crowd_of_jobs_is_spread_over_the_nodes_and_loses_little() {
    let shown = CROWD.run(1);
    assert!(shown.over < 1.15, "{shown:?}");
    // A node for each part of a job, and twice as many again for what is moved near the end.
    assert!(shown.pairs.0 <= 3 * CROWD.nodes, "{shown:?}");
    assert!(shown.pairs.1 <= 10 * CROWD.nodes, "{shown:?}");
}
