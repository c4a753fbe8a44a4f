//! The ladder and the sightings against slow, plain twins, for many seeds.

mod world;

use dataplane_drops::{DropRule, LadderRule, Per, Rung, Seen};
use world::{ANN, World, ZOE, flow};

struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }
}

/// One subject with one caller, lived through millisecond by millisecond.
struct Twin {
    rule: LadderRule,
    rung: Rung,
    /// What was told last, how long ago it began to go on, how long it has been silent.
    told_for: Option<u64>,
    longest_wait: u64,
    going_on_for: u64,
    silent_for: u64,
    window_for: u64,
    in_window: u32,
    calm_for: u64,
    left: u64,
    drops: u32,
}

impl Twin {
    fn new(rule: LadderRule) -> Self {
        Self {
            rule,
            rung: Rung::Tell,
            told_for: None,
            longest_wait: 0,
            going_on_for: 0,
            silent_for: 0,
            window_for: 0,
            in_window: 0,
            calm_for: 0,
            left: 0,
            drops: 0,
        }
    }

    fn millisecond(&mut self) {
        self.told_for = self.told_for.map(|left| left.saturating_sub(1));
        self.going_on_for += 1;
        self.silent_for += 1;
        if self.rung == Rung::Drop {
            self.left -= 1;
            if self.left == 0 {
                self.rung = Rung::Slow;
                self.calm_for = 0;
                self.begin_window();
            }
            return;
        }
        self.window_for += 1;
        self.calm_for += 1;
        if self.calm_for == self.rule.calm_ms {
            self.calm_for = 0;
            if self.rung == Rung::Slow {
                self.rung = Rung::Tell;
                self.begin_window();
            } else {
                self.drops = self.drops.saturating_sub(1);
            }
        }
    }

    fn refused(&mut self, wait_ms: u64) {
        if !self.has_ignored(wait_ms) || self.rung == Rung::Drop {
            return;
        }
        self.calm_for = 0;
        if self.in_window == 0 || self.window_for >= self.rule.window_ms {
            self.begin_window();
        }
        self.in_window += 1;
        let drop = self.rule.drop.unwrap();
        if self.rung == Rung::Tell && self.in_window == self.rule.ignored_refusals {
            self.rung = Rung::Slow;
            self.begin_window();
        } else if self.rung == Rung::Slow && self.in_window == drop.ignored_refusals {
            self.rung = Rung::Drop;
            self.left = drop.drop_ms_first;
            for _ in 0..self.drops {
                self.left = self.left * u64::from(drop.drop_growth_percent) / 100;
                self.left = self.left.min(drop.drop_ms_max);
            }
            self.drops += 1;
            self.begin_window();
        }
    }

    fn has_ignored(&mut self, wait_ms: u64) -> bool {
        let patience = self.rule.grace_ms.min(self.longest_wait);
        let left = self.told_for.unwrap_or(0);
        let obeys = self.told_for.is_none() || (left == 0 && self.silent_for >= patience);
        self.silent_for = 0;
        if obeys {
            self.told_for = Some(wait_ms);
            self.longest_wait = wait_ms;
            self.going_on_for = 0;
            return false;
        }
        let ignored = left > 0 && self.going_on_for >= self.rule.grace_ms;
        self.told_for = Some(left.max(wait_ms));
        self.longest_wait = self.longest_wait.max(wait_ms);
        ignored
    }

    fn begin_window(&mut self) {
        self.in_window = 0;
        self.window_for = 0;
    }
}

#[test]
fn the_ladder_agrees_with_its_twin() {
    let mut reached = [0; 3];
    for seed in 0..300 {
        let mut dice = Dice(seed);
        let drop = DropRule {
            ignored_refusals: 1 + dice.roll(4) as u32,
            drop_ms_first: 100 + dice.roll(200),
            drop_growth_percent: 100 + dice.roll(300) as u32,
            drop_ms_max: 300 + dice.roll(2_000),
            flows_before_source: 0,
        };
        let rule = LadderRule {
            ignored_refusals: 1 + dice.roll(5) as u32,
            window_ms: 1 + dice.roll(300),
            grace_ms: dice.roll(40),
            calm_ms: 1_000 + dice.roll(500),
            drop: Some(drop),
            ..LadderRule::default()
        };
        let mut world = World::new();
        let subject = world.subject(ANN, Per::Caller, rule);
        let mut twin = Twin::new(rule);
        for step in 0..400 {
            let wait_ms = match dice.roll(30) {
                0 => dice.roll(5_000),
                1..4 => dice.roll(200),
                _ => dice.roll(12),
            };
            world.wait(wait_ms);
            (0..wait_ms).for_each(|_| twin.millisecond());
            if dice.roll(8) > 0 {
                let told_ms = 1 + dice.roll(60);
                let rung = world.refused(&subject, ANN, flow("192.0.2.1", 5), told_ms);
                twin.refused(told_ms);
                assert_eq!(rung, twin.rung, "seed {seed}, step {step}, {rule:?}");
            }
            reached[twin.rung as usize] += 1;
            let standing = world.standing(&subject);
            if twin.rung == Rung::Drop || standing.rung == Rung::Drop {
                let left_ms = standing.wait_ms(world.now.mono);
                assert_eq!((standing.rung, left_ms), (twin.rung, twin.left), "seed {seed}, {step}");
            }
            let entries = usize::from(twin.rung == Rung::Drop);
            assert_eq!(world.dropped().len(), entries, "seed {seed}, step {step}");
        }
    }
    assert!(reached.iter().all(|count| *count > 5_000), "{reached:?}");
}

/// Whose an address is, from everything that was ever seen there.
fn known(log: &[(u64, Option<bool>)], now_ms: u64) -> Seen {
    let memory_ms = 24 * 3_600_000;
    // After a silence of a memory's length it is as if nothing had been.
    let fresh = (1..log.len()).rev().find(|at| log[*at].0 - log[*at - 1].0 >= memory_ms);
    let log = &log[fresh.unwrap_or(0)..];
    let Some((last, _)) = log.last() else { return Seen::Unsure };
    if now_ms - last >= memory_ms {
        return Seen::Unsure;
    }
    let owners: Vec<(u64, bool)> =
        log.iter().filter_map(|(at, who)| Some((*at, (*who)?))).collect();
    let changed = |pair: &[(u64, bool)]| pair[0].1 != pair[1].1 && now_ms - pair[1].0 < memory_ms;
    if owners.windows(2).any(changed) {
        return Seen::SeveralTenants;
    }
    if log.iter().any(|(at, who)| who.is_none() && now_ms - at < 600_000) {
        return Seen::Unauthenticated;
    }
    let is_young = now_ms - log[0].0 < 10_000;
    if is_young || owners.is_empty() { Seen::Unsure } else { Seen::OneTenant }
}

#[test]
fn sightings_agree_with_the_whole_history() {
    let mut reached = [0; 4];
    for seed in 0..300 {
        let mut dice = Dice(seed);
        let mut world = World::new();
        let mut log = Vec::new();
        let mut now_ms = 0;
        for step in 0..200 {
            let wait_ms = match dice.roll(10) {
                0 => dice.roll(30 * 3_600_000),
                1..4 => dice.roll(3_600_000),
                _ => dice.roll(8_000),
            };
            world.wait(wait_ms);
            now_ms += wait_ms;
            let who = match dice.roll(if seed % 2 == 0 { 40 } else { 4 }) {
                0 => Some(false),
                1 => None,
                _ => Some(true),
            };
            match who {
                Some(true) => world.seen(ANN, flow("192.0.2.1", 5)),
                Some(false) => world.seen(ZOE, flow("192.0.2.1", 6)),
                None => world.drops.on_unauthenticated("192.0.2.1".parse().unwrap(), world.now),
            }
            log.push((now_ms, who));
            let seen = world.drops.explain("192.0.2.1".parse().unwrap(), world.now).seen;
            assert_eq!(seen, known(&log, now_ms), "seed {seed}, step {step}");
            reached[seen as usize] += 1;
        }
    }
    assert!(reached.iter().all(|count| *count > 1_000), "{reached:?}");
}
