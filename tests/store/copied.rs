//! A host is copied with Palisade's state on it, and both go on.

use std::fs;
use std::time::Duration;

use super::{Far, append, configure, home, is_the_same};
use crate::support::daemon::{Home, eventually, ran};
use crate::support::log::attack;
use crate::support::postgres;

#[test]
fn what_two_hosts_of_one_image_find_is_not_taken_for_the_same() {
    let Some(server) = postgres::shared("a host that is copied") else { return };
    let (far, url) = Far::new(server);
    let one = home(&url, "");
    append(&one, &attack("198.51.100.1", 0));
    let daemon = one.start();
    is_the_same(&one, &far, 1, Duration::from_secs(30));
    assert_eq!(daemon.stop(), 0);

    let two = Home::new();
    configure(&two, &url, "");
    // The same file at the same place stands for a log that was copied too.
    let logs = [&one, &two].map(|home| home.path("access.log").display().to_string());
    let text = fs::read_to_string(two.path("palisade.toml")).unwrap();
    let text = text.replace("web-1", "web-2").replace(&logs[1], &logs[0]);
    fs::write(two.path("palisade.toml"), text).unwrap();
    let [from, to] = [&one, &two].map(|home| home.path("state"));
    assert_eq!(ran(std::process::Command::new("cp").arg("-a").args([from, to])).code, 0);

    let daemons = [one.start(), two.start()];
    append(&one, &attack("198.51.100.2", 1));
    for (home, agent) in [(&one, "web-1"), (&two, "web-2")] {
        eventually("each found it", || (home.findings().len() == 2).then_some(()));
        let own = format!("SELECT count(*) FROM palisade.findings WHERE agent = '{agent}' AND uri LIKE '%n=1&%'");
        eventually("and sent it", || (far.number(&own) == 1).then_some(()));
    }
    assert_eq!(far.findings().len(), 3, "what was before the copy is there once");
    let counted = "SELECT sum(findings)::bigint FROM palisade.rollups WHERE dimension = 'all'";
    assert_eq!(far.number(counted), 3);
    assert_eq!(far.number("SELECT count(*) FROM palisade.decisions"), 3);
    // It goes on under its own ids.
    let [first, second] = daemons.map(|daemon| daemon.stop());
    assert_eq!((first, second), (0, 0));
    let _daemons = [one.start(), two.start()];
    append(&one, &attack("198.51.100.3", 2));
    eventually("both sent the next", || (far.findings().len() == 5).then_some(()));
    assert_eq!(two.findings().len(), 3, "nothing was read twice");
}
