use super::*;

/// A log of `n` lines, one a second and the last one now, `pad` bytes each; line `i` of each `junk`
/// has no time.
fn log(n: i64, pad: usize, junk: i64) -> Vec<String> {
    let now = Timestamp::now().0;
    let line = |i: i64| match i % junk {
        1 => format!("no time {i:07} {}\n", "x".repeat(pad)),
        _ => format!("{i:07} @{} {}\n", now - (n - 1 - i) * 1000, "x".repeat(pad)),
    };
    (0..n).map(line).collect()
}

fn started(text: &str, start: Start) -> World {
    let mut world = World::new(&["a.log"], start);
    world.write("a.log", text);
    world.start();
    world.drain();
    world
}

#[test]
fn a_start_in_the_past_begins_with_the_first_line_that_is_young_enough() {
    for (n, pad) in [(1, 10), (40, 10), (500, 3), (5000, 100), (3000, 900), (2000, 3000), (40, 60_000)] {
        for ago in [1, 30, 100, 2500, 10_000] {
            let lines = log(n, pad, i64::MAX);
            let world = started(&lines.concat(), Start::Ago(ago));
            let first = usize::try_from(n - 1 - i64::from(ago)).unwrap_or(0);
            // The clock goes on while we look: lines at the edge may be too old by now.
            let got = world.got.lines.as_slice();
            let fits = (first..first + 4).any(|first| lines.get(first..) == Some(got));
            assert!(fits, "{n} lines of {pad}, {ago} s: {} came", got.len());
        }
    }
}

#[test]
fn a_start_in_the_past_passes_over_lines_without_time() {
    let lines = log(5000, 100, 7);
    let world = started(&lines.concat(), Start::Ago(1000));
    assert!((990..=1001).contains(&world.got.lines.len()), "{}", world.got.lines.len());

    // Much without a time counts as new, and nothing young is left out.
    let junk = "junk\n".repeat(200_000);
    let text = lines[..2500].concat() + &junk + &lines[2500..].concat();
    let world = started(&text, Start::Ago(1000));
    let got = world.got.lines.len();
    assert!(got >= 990 && world.got.lines.ends_with(&lines[4010..]), "{got}");
}

#[test]
fn a_start_in_the_past_is_the_end_where_no_time_is_read() {
    for text in ["", "no\ntimes\n", &"y\n".repeat(400_000), &"z".repeat(900_000)] {
        let mut world = started(text, Start::Ago(3600));
        assert!(world.got.lines.is_empty());
        world.write("a.log", "\nnew\n");
        assert_eq!(world.drain().last().map(String::as_str), Some("new\n"));
    }
    let lines = log(100, 10, i64::MAX).concat();
    let mut old = started(&lines.replace('@', "@-"), Start::Ago(3600));
    assert!(old.got.lines.is_empty());
    old.write("a.log", "new\n");
    assert_eq!(old.drain(), ["new\n"]);
}
