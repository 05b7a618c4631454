//! What etcd promises of watches, of ours: ordered, unique, atomic, reliable, resumable, bookmarkable.

use std::collections::{BTreeMap, BTreeSet};

use super::{Kind, Seen, Watch, Wrong};

/// Everything that is wrong with watches of the same keys. `up_to`: all of them were followed until they had seen this
/// revision.
pub fn check_watches(watches: &[Watch], up_to: u64) -> Vec<Wrong> {
    let mut wrong = Vec::new();
    for (number, watch) in watches.iter().enumerate() {
        let complaints = check_one(watch).into_iter().map(|what| Wrong(format!("watch {number}: {what}")));
        wrong.extend(complaints);
    }
    wrong.extend(check_together(watches, up_to));
    wrong
}

fn check_one(watch: &Watch) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut newest = watch.after;
    let mut bookmark = watch.after;
    let mut there: BTreeMap<&str, bool> = BTreeMap::new();
    for seen in &watch.seen {
        match seen {
            Seen::Bookmark(revision) => {
                if *revision < newest {
                    wrong.push(format!("a bookmark of {revision} after an event of {newest}"));
                }
                bookmark = bookmark.max(*revision);
            }
            Seen::Resumed(revision) => {
                if *revision < newest {
                    wrong.push(format!(
                        "resumed after {revision} although {newest} had been seen: the harness is at fault"
                    ));
                }
                newest = newest.max(*revision);
            }
            Seen::Event { kind, key, revision, .. } => {
                if *revision == newest {
                    wrong.push(format!("not unique: revision {revision} of {key} a second time"));
                } else if *revision < newest {
                    wrong.push(format!("not ordered: revision {revision} of {key} after {newest}"));
                }
                if *revision <= bookmark {
                    wrong
                        .push(format!("not bookmarkable: revision {revision} of {key} after a bookmark of {bookmark}"));
                }
                newest = newest.max(*revision);
                let was_there = there.insert(key, *kind != Kind::Deleted);
                if was_there.is_some_and(|was_there| was_there == (*kind == Kind::Added)) {
                    wrong.push(format!("{key} is {kind:?} at {revision}, although it was there before: {was_there:?}"));
                }
            }
        }
    }
    wrong
}

/// All watches of the same keys saw the same changes: nobody has a gap, and a revision says the same to everybody.
fn check_together(watches: &[Watch], up_to: u64) -> Vec<Wrong> {
    let mut all: BTreeMap<u64, &Seen> = BTreeMap::new();
    let mut wrong = Vec::new();
    for seen in watches.iter().flat_map(|watch| &watch.seen) {
        let Seen::Event { revision, .. } = seen else { continue };
        let other = all.entry(*revision).or_insert(seen);
        if *other != seen {
            wrong.push(Wrong(format!("not atomic: revision {revision} is {other:?} and {seen:?}")));
        }
    }
    for (number, watch) in watches.iter().enumerate() {
        let seen: BTreeSet<u64> = watch.seen.iter().filter_map(revision).collect();
        let missing =
            all.keys().filter(|revision| **revision > watch.after && **revision <= up_to && !seen.contains(revision));
        wrong.extend(
            missing.map(|revision| Wrong(format!("not reliable: watch {number} has not seen revision {revision}"))),
        );
    }
    wrong
}

fn revision(seen: &Seen) -> Option<u64> {
    match seen {
        Seen::Event { revision, .. } => Some(*revision),
        Seen::Bookmark(_) | Seen::Resumed(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: Kind, key: &str, revision: u64) -> Seen {
        Seen::Event { kind, key: key.to_owned(), revision, value: format!("{key}{revision}") }
    }

    fn good() -> Watch {
        let seen = vec![
            event(Kind::Added, "a", 2),
            event(Kind::Added, "b", 3),
            Seen::Bookmark(4),
            event(Kind::Modified, "a", 5),
            Seen::Resumed(5),
            event(Kind::Deleted, "a", 6),
            event(Kind::Added, "a", 8),
        ];
        Watch { after: 1, seen }
    }

    fn complaints(watches: &[Watch]) -> String {
        check_watches(watches, 8).into_iter().map(|wrong| wrong.0 + "\n").collect()
    }

    fn damaged(damage: impl Fn(&mut Vec<Seen>)) -> String {
        let mut watch = good();
        damage(&mut watch.seen);
        complaints(&[good(), watch])
    }

    #[test]
    fn good_watches_pass_also_when_one_began_later() {
        let later = Watch { after: 5, seen: good().seen.split_off(5) };
        assert_eq!(complaints(&[good(), good(), later]), "");
    }

    #[test]
    fn each_broken_promise_is_found() {
        assert!(damaged(|seen| seen.swap(0, 1)).contains("not ordered"));
        assert!(damaged(|seen| seen.insert(1, seen[0].clone())).contains("not unique"));
        assert!(damaged(|seen| drop(seen.remove(1))).contains("not reliable: watch 1 has not seen revision 3"));
        assert!(damaged(|seen| drop(seen.pop())).contains("not reliable: watch 1 has not seen revision 8"));
        assert!(damaged(|seen| seen[2] = Seen::Bookmark(5)).contains("not bookmarkable"));
        assert!(damaged(|seen| seen[2] = Seen::Bookmark(2)).contains("a bookmark of 2 after an event of 3"));
        assert!(damaged(|seen| seen.insert(5, seen[3].clone())).contains("not unique"), "resumed too early");
        assert!(damaged(|seen| seen[1] = event(Kind::Added, "c", 3)).contains("not atomic"));
        assert!(damaged(|seen| seen[3] = event(Kind::Added, "a", 5)).contains("although it was there before"));
    }
}
