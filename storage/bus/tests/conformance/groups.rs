//! Committed positions and membership of groups.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use tradeflow_bus::{GroupEvent, Membership};

use super::{Fixture, at, log, numbered, publish};

/// What a member owns after the events that came so far.
fn follow(owned: &mut BTreeSet<u32>, member: &mut dyn Membership, timeout: Duration) {
    for event in member.poll(timeout).expect("the group is reached") {
        match event {
            GroupEvent::Assigned(partitions) => {
                for partition in partitions {
                    assert!(owned.insert(partition), "partition {partition} was assigned twice");
                }
            }
            GroupEvent::Revoked(partitions) | GroupEvent::Lost(partitions) => {
                for partition in partitions {
                    assert!(owned.remove(&partition), "partition {partition} was taken that was not owned");
                }
            }
        }
    }
}

/// Each group has its position in each partition; the last commit counts, also when it goes back.
pub fn positions_are_committed(fixture: impl Fixture) {
    let (topic, bus) = (log(&fixture, "positions", 2), fixture.bus());
    let (one, two) = (format!("{}one", fixture.prefix()), format!("{}two", fixture.prefix()));
    for partition in 0..2 {
        publish(&bus, (0..10).map(|n| numbered(&topic, partition, n)).collect());
    }
    let committed = |group: &str, partition| bus.committed(group, &topic, partition).expect("read");
    assert_eq!(committed(&one, 0), None);
    bus.commit(&one, &[at(&topic, 0, 3), at(&topic, 1, 7)]).expect("committed");
    assert_eq!((committed(&one, 0), committed(&one, 1)), (Some(3), Some(7)));
    assert_eq!((committed(&two, 0), committed(&two, 1)), (None, None));
    bus.commit(&two, &[at(&topic, 1, 0)]).expect("committed");
    bus.commit(&one, &[at(&topic, 1, 8)]).expect("committed");
    bus.commit(&one, &[at(&topic, 0, 1)]).expect("committed");
    assert_eq!((committed(&one, 0), committed(&one, 1)), (Some(1), Some(8)));
    assert_eq!((committed(&two, 0), committed(&two, 1)), (None, Some(0)));
    bus.commit(&one, &[]).expect("nothing to commit");
}

/// A single member gets all partitions, once.
pub fn a_member_gets_all_partitions(fixture: impl Fixture) {
    let (topic, bus) = (log(&fixture, "member", 4), fixture.bus());
    let group = format!("{}member", fixture.prefix());
    let mut member = bus.join(&group, &topic).expect("joined");
    let mut owned = BTreeSet::new();
    super::until("all partitions are assigned", fixture.abilities().patience, || {
        follow(&mut owned, member.as_mut(), Duration::from_millis(50));
        owned.len() == 4
    });
    // Then nothing changes, and a poll waits as long as it was told.
    let start = Instant::now();
    assert_eq!(member.poll(Duration::from_millis(100)).expect("no error"), []);
    assert!(start.elapsed() >= Duration::from_millis(95));
}

/// A member commits for its group; who joins after it left, or after a restart, finds the position.
pub fn members_commit_and_come_back(mut fixture: impl Fixture) {
    let topic = log(&fixture, "comes-back", 2);
    let group = format!("{}comes-back", fixture.prefix());
    publish(&fixture.bus(), (0..10).map(|n| numbered(&topic, 0, n)).collect());
    for round in 0..2_u64 {
        let bus = fixture.bus();
        let mut member = bus.join(&group, &topic).expect("joined");
        let mut owned = BTreeSet::new();
        super::until("all partitions are assigned", fixture.abilities().patience, || {
            follow(&mut owned, member.as_mut(), Duration::from_millis(50));
            owned.len() == 2
        });
        assert_eq!(bus.committed(&group, &topic, 0).expect("read"), (round > 0).then_some(round));
        bus.commit(&group, &[at(&topic, 0, round + 1)]).expect("a member may commit");
        assert_eq!(bus.committed(&group, &topic, 0).expect("read"), Some(round + 1));
        drop((member, bus));
        fixture.reopen();
    }
}

/// Several members share the partitions, no two own the same one, and who stays takes over from who leaves.
pub fn partitions_are_shared_among_members(fixture: impl Fixture) {
    if !fixture.abilities().several_members {
        println!("skipped: a group has one member here");
        return;
    }
    let (topic, bus) = (log(&fixture, "shared", 4), fixture.bus());
    let (group, patience) = (format!("{}shared", fixture.prefix()), fixture.abilities().patience);
    let short = Duration::from_millis(50);
    let (mut first, mut first_owns) = (bus.join(&group, &topic).expect("joined"), BTreeSet::new());
    super::until("the first member owns all", patience, || {
        follow(&mut first_owns, first.as_mut(), short);
        first_owns.len() == 4
    });
    let (mut second, mut second_owns) = (bus.join(&group, &topic).expect("joined"), BTreeSet::new());
    super::until("they share", patience, || {
        follow(&mut first_owns, first.as_mut(), short);
        follow(&mut second_owns, second.as_mut(), short);
        assert!(first_owns.is_disjoint(&second_owns), "{first_owns:?} and {second_owns:?}");
        (first_owns.len(), second_owns.len()) == (2, 2)
    });
    drop(first);
    super::until("the second member owns all", patience, || {
        follow(&mut second_owns, second.as_mut(), short);
        second_owns.len() == 4
    });
}
