//! Random programs of a log writer, logrotate and crashes, run against a model that only remembers
//! which lines were written.

use std::collections::{HashMap, HashSet, VecDeque};

use super::*;

/// xorshift64*: the same steps for the same seed everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % n
    }
}

/// One log as its writer sees it.
struct Log {
    name: String,
    current: Option<File>,
    /// Held open by a writer that was not told to reopen yet.
    late: Option<File>,
    rotated: VecDeque<String>,
    rotations: u64,
}

struct Model {
    world: World,
    random: Random,
    logs: Vec<Log>,
    lines: u64,
    written: HashSet<String>,
    /// Second halves still to be written, by log: of the current file and of the late writer's.
    halves: HashMap<(usize, bool), String>,
}

impl Model {
    fn new(seed: u64) -> Model {
        let mut world = World::new(&["*.log"], Start::Beginning);
        world.limits.read_bytes = 400;
        world.limits.max_line_bytes = 200;
        let log =
            |name: &str| Log { name: name.into(), current: None, late: None, rotated: VecDeque::new(), rotations: 0 };
        world.start();
        let logs = vec![log("a.log"), log("b.log")];
        // Each log is seen once: what came and was rotated before that is nobody's.
        world.write("a.log", "");
        world.write("b.log", "");
        world.drain();
        let random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        Model { world, random, logs, lines: 0, written: HashSet::new(), halves: HashMap::new() }
    }

    fn step(&mut self) {
        let at = self.random.below(2) as usize;
        match self.random.below(20) {
            0..=6 => self.write(at, false),
            7..=8 if self.logs[at].late.is_some() => self.write(at, true),
            9..=10 => self.rotate(at),
            11 => {
                self.finish_half(at, true);
                self.logs[at].late = None;
            }
            12 => self.truncate(at),
            13 => self.delete_oldest(at),
            14..=16 => self.read(),
            17 if self.world.tailer.is_some() => self.world.commit(),
            18 => self.world.crash(),
            _ => self.start(),
        }
    }

    /// Finishes the line begun last, writes some more, and now and then leaves one half written.
    fn write(&mut self, at: usize, late: bool) {
        let mut text = self.halves.remove(&(at, late)).unwrap_or_default();
        for _ in 0..self.random.below(12) {
            let padding = "x".repeat(self.random.below(60) as usize);
            let line = format!("{:07} {padding}\n", self.lines);
            self.lines += 1;
            text += &line;
            self.written.insert(line);
        }
        let half = match self.random.below(3) {
            0 => text.split_off(self.random.below(text.len() as u64 + 1) as usize),
            _ => String::new(),
        };
        let log = &mut self.logs[at];
        let file = match late {
            true => log.late.as_mut().unwrap(),
            false => log.current.get_or_insert_with(|| self.world.append(&log.name)),
        };
        file.write_all(text.as_bytes()).unwrap();
        if late {
            // Rotations lie hours apart and late writers seconds: the next file is always newer.
            let last = log.rotated.back().unwrap().clone();
            self.world.set_age(&last, 1_000_000 - log.rotations);
        }
        self.halves.insert((at, late), half);
    }

    fn rotate(&mut self, at: usize) {
        self.finish_half(at, true);
        let log = &mut self.logs[at];
        let Some(file) = log.current.take() else { return };
        log.rotations += 1;
        let name = format!("{}.{}", log.name, log.rotations);
        self.world.rename(&log.name, &name);
        self.world.set_age(&name, 1_000_000 - log.rotations);
        log.rotated.push_back(name);
        log.late = Some(file);
        if let Some(half) = self.halves.remove(&(at, false)) {
            self.halves.insert((at, true), half);
        }
    }

    /// Truncates a log that was read to its end: else the loss would be real.
    fn truncate(&mut self, at: usize) {
        self.finish_half(at, false);
        if self.world.tailer.is_some() && self.logs[at].current.is_some() {
            self.world.drain();
            File::create(self.world.path(&self.logs[at].name)).unwrap();
            if self.random.below(2) == 0 {
                self.world.drain();
            }
            // Until the truncation is seen and stored, a crash would count it as a gap.
            self.write(at, false);
            self.world.drain();
        }
    }

    fn delete_oldest(&mut self, at: usize) {
        let log = &mut self.logs[at];
        if self.world.tailer.is_some() && log.current.is_some() && log.rotated.len() > 2 {
            self.world.drain();
            self.world.commit();
            fs::remove_file(self.world.path(&log.rotated.pop_front().unwrap())).unwrap();
        }
    }

    fn read(&mut self) {
        if let Some(tailer) = &mut self.world.tailer {
            let got = &mut self.world.got;
            tailer.scan();
            for _ in 0..self.random.below(6) {
                tailer.read(&mut |chunk| got.take(&chunk));
            }
        }
    }

    fn start(&mut self) {
        if self.world.tailer.is_none() {
            self.world.start();
        }
    }

    fn finish_half(&mut self, at: usize, late: bool) {
        let log = &mut self.logs[at];
        let file = if late { log.late.as_mut() } else { log.current.as_mut() };
        if let (Some(half), Some(file)) = (self.halves.remove(&(at, late)), file) {
            file.write_all(half.as_bytes()).unwrap();
            if late {
                let last = log.rotated.back().unwrap().clone();
                self.world.set_age(&last, 1_000_000 - log.rotations);
            }
        }
    }

    fn check(mut self, seed: u64) {
        for at in 0..2 {
            self.finish_half(at, false);
            self.finish_half(at, true);
        }
        self.start();
        self.world.drain();
        let mut times: HashMap<String, u64> = HashMap::new();
        for line in self.world.got.places.values() {
            *times.entry(String::from_utf8(line.clone()).unwrap()).or_default() += 1;
        }
        let lost: Vec<_> = self.written.iter().filter(|line| !times.contains_key(*line)).collect();
        let twice: Vec<_> = times.iter().filter(|(_, times)| **times > 1).collect();
        let broken: Vec<_> = times.keys().filter(|line| !self.written.contains(*line)).collect();
        assert!(
            lost.is_empty() && twice.is_empty() && broken.is_empty(),
            "seed {seed}: lost {lost:?}, twice {twice:?}, broken {broken:?}"
        );
    }
}

#[test]
fn random_writers_rotations_and_crashes_lose_and_repeat_nothing() {
    let began = Instant::now();
    let only = option_env!("TAIL_SEED").and_then(|seed| seed.parse().ok());
    let seeds = only.map_or(1..=400, |seed: u64| seed..=seed);
    let (mut steps, mut lines) = (0, 0);
    for seed in seeds {
        let mut model = Model::new(seed);
        for _ in 0..60 {
            model.step();
        }
        steps += 60;
        lines += model.lines;
        model.check(seed);
        if began.elapsed() > Duration::from_secs(2) {
            break;
        }
    }
    assert!(lines > 0);
    println!("{steps} steps, {lines} lines in {:?}", began.elapsed());
}
