//! `kill -9` in the middle of a stream of commits.

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use super::*;

/// What makes the child's working directory the place where it writes until it is killed.
const MARKER: &str = "write-here-until-killed";

#[tokio::test]
async fn a_killed_writer_leaves_whole_batches_and_all_it_had_confirmed() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(MARKER), "").unwrap();
    let mut confirmed = 0;
    for lines in [3, 40, 1, 17, 25] {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "record::sqlite::tests::kill::the_writer_that_is_killed", "--nocapture"])
            .current_dir(dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut confirmations = output.filter_map(|line| line.strip_prefix("confirmed ")?.parse().ok());
        confirmed = confirmations.nth(lines).unwrap_or(0u64);
        // Moments spread over the fraction of a millisecond that a commit takes.
        std::thread::sleep(Duration::from_micros(lines as u64 * 31));
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(9));

        let store = open(dir.path()).await.unwrap();
        assert_eq!(store.damaged(), None);
        let offset = store.marks().await.unwrap()[0].offset;
        let state = u64::from_le_bytes(store.snapshot().await.unwrap().unwrap().try_into().unwrap());
        assert!(offset >= confirmed && confirmed > 0, "batch {confirmed} was confirmed, {offset} is there");
        assert_eq!(state, offset, "the counting state belongs to the offset");
        assert_eq!(count(&store, "findings").await as u64, offset * 3);
        assert_eq!(count(&store, "decisions").await as u64, offset);
        assert_eq!(count(&store, "outbox").await as u64, offset * 4);
        store.close().await;
    }
    assert!(confirmed >= 25);
}

/// Not a test by itself: the child of the test above.
#[tokio::test]
async fn the_writer_that_is_killed() {
    if !Path::new(MARKER).exists() {
        return;
    }
    let store = open(Path::new(".")).await.unwrap();
    let done = store.marks().await.unwrap().first().map_or(0, |mark| mark.offset);
    println!();
    for batch in done + 1.. {
        let findings: Vec<Finding> = (batch * 3..batch * 3 + 3).map(finding).collect();
        let decisions = [decision(&batch.to_string(), DecisionState::Pending)];
        let marks = [mark(1, batch)];
        let checkpoint = Some(Checkpoint { marks: &marks, state: &batch.to_le_bytes() });
        let batch_of = Batch {
            at: NOW,
            new_files: &[],
            findings: &findings,
            decisions: &decisions,
            checkpoint,
            ..Batch::default()
        };
        store.commit(&batch_of).await.unwrap();
        println!("confirmed {batch}");
    }
}
