//! Policies at random, directed by type, so that all of them mean something.

use std::collections::BTreeMap;

/// Random numbers from a seed: splitmix64, the same on every machine.
#[derive(Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// True in so many of a thousand.
    pub(crate) fn chance(&mut self, per_mille: usize) -> bool {
        self.below(1_000) < per_mille
    }

    pub(crate) fn pick<'c, T>(&mut self, choices: &'c [T]) -> &'c T {
        &choices[self.below(choices.len())]
    }
}

/// One to six policies by id.
pub(super) fn policies(dice: &mut Dice) -> BTreeMap<String, String> {
    let count = 1 + dice.below(6);
    (0..count).map(|n| (format!("p{n}"), policy(dice, n))).collect()
}

const PRINCIPALS: [&str; 12] = [
    "principal",
    "principal",
    "principal in Role::\"support\"",
    "principal in Role::\"dev\"",
    "principal in Group::\"helpdesk\"",
    "principal in Group::\"oncall\"",
    "principal is User",
    "principal is Agent",
    "principal is User in Role::\"admin\"",
    "principal == User::\"acme/ann\"",
    "principal in Tenant::\"acme\"",
    "principal == Agent::\"acme/bot\"",
];

const ACTIONS: [&str; 4] =
    ["action", "action == Action::\"call\"", "action in [Action::\"call\"]", "action"];

fn policy(dice: &mut Dice, n: usize) -> String {
    let permit = dice.chance(650);
    let (resource, tool) = *dice.pick(&[
        ("resource == Tool::\"lab/all\"", Some(true)),
        ("resource == Tool::\"lab/all\"", Some(true)),
        ("resource == Tool::\"lab/all\"", Some(true)),
        ("resource == Tool::\"lab/part\"", Some(false)),
        ("resource in Server::\"lab\"", None),
        ("resource in Server::\"pay\"", None),
        ("resource is Tool", None),
        ("resource", None),
    ]);
    let obligation = *dice.pick(&[
        "@quota(\"q\") ",
        "@audit(\"before_forward\") @approval(\"finance\") ",
        "",
        "",
        "",
        "",
    ]);
    let obligation = if permit { obligation } else { "" };
    let effect = if permit { "permit" } else { "forbid" };
    let (principal, action) = (*dice.pick(&PRINCIPALS), *dice.pick(&ACTIONS));
    let mut text = format!("@id(\"p{n}\") {obligation}{effect}({principal}, {action}, {resource})");
    let clauses = dice.below(3).max(usize::from(tool == Some(true)));
    for _ in 0..clauses {
        let depth = dice.below(4);
        let kind = if dice.chance(800) { "when" } else { "unless" };
        let condition = Generator { dice, tool }.bool(depth);
        text.push_str(&format!(" {kind} {{ {condition} }}"));
    }
    text + ";"
}

const PATTERNS: [&str; 13] = [
    "src/*",
    "*a*",
    "a*a",
    "*",
    "**",
    "a",
    "",
    "*é*",
    "src*rs",
    "s*c/*a*.rs",
    "*\\*ü",
    "a*ba",
    "*ba*a",
];

const COMPARE: [&str; 6] = ["<", "<=", ">", ">=", "==", "!="];

const DECIMAL_METHODS: [&str; 4] =
    ["lessThan", "lessThanOrEqual", "greaterThan", "greaterThanOrEqual"];

const DECIMALS: [&str; 6] = ["0.9", "1.25", "12.5", "-3.25", "922337203685477.5807", "0.0"];

const PEOPLE: [&str; 17] = [
    "principal in Role::\"dev\"",
    "principal in [Role::\"support\", Role::\"admin\"]",
    "principal == User::\"acme/ann\"",
    "principal != Agent::\"acme/bot\"",
    "principal.tenant == Tenant::\"acme\"",
    "principal.tenant != Tenant::\"bolt\"",
    "principal in Tenant::\"bolt\"",
    "principal.tenant in [Tenant::\"bolt\", Tenant::\"acme\"]",
    "(principal is User && [User::\"acme/ann\", User::\"bolt/bob\"].contains(principal))",
    "principal is Service",
    "principal is User in Role::\"admin\"",
    "(context has agent && context.agent == Agent::\"acme/rogue\")",
    "(context has agent && context.agent.tenant == principal.tenant)",
    "context has agent",
    "(context has agent && context.agent in Tenant::\"acme\")",
    "(principal has tenant)",
    "(principal in Role::\"admin\") == (principal in Role::\"dev\")",
];

const RESOURCES: [&str; 8] = [
    "resource.destructive",
    "!resource.read_only",
    "resource in Server::\"lab\"",
    "resource == Tool::\"lab/part\"",
    "[Tool::\"lab/all\", Tool::\"pay/send\"].contains(resource)",
    "action == Action::\"call\"",
    "resource has destructive",
    "context.era == \"modern\"",
];

/// Expressions for a tool: the one with every argument, the one with a part, or any.
struct Generator<'d> {
    dice: &'d mut Dice,
    tool: Option<bool>,
}

impl Generator<'_> {
    fn of(&mut self, choices: &[&str]) -> String {
        (*self.dice.pick(choices)).to_owned()
    }

    fn bool(&mut self, depth: usize) -> String {
        if depth > 0 && self.dice.chance(500) {
            let below = depth - 1;
            return match self.dice.below(7) {
                0 => format!("!({})", self.bool(below)),
                1 | 2 => format!("({} && {})", self.bool(below), self.bool(below)),
                3 | 4 => format!("({} || {})", self.bool(below), self.bool(below)),
                5 => format!("(({}) == ({}))", self.bool(below), self.bool(below)),
                _ => {
                    let [a, b, c] = [(); 3].map(|()| self.bool(below));
                    format!("(if {a} then {b} else {c})")
                }
            };
        }
        match (self.dice.below(10), self.tool) {
            (0, _) => self.of(&PEOPLE),
            (1, _) => self.of(&RESOURCES),
            (2, _) => self.times(depth),
            (3, _) => self.of(&["true", "false", "(1 < 2)"]),
            (_, Some(true)) => self.about_all(depth),
            (_, Some(false)) => self.about_part(),
            (4..=6, None) => self.of(&PEOPLE),
            (_, None) => self.guarded(),
        }
    }

    /// Over several tools an argument is asked for first.
    fn guarded(&mut self) -> String {
        self.of(&[
            "(context.arguments has amount && context.arguments.amount > 500)",
            "(context.arguments has note && context.arguments.note like \"*a*\")",
            "(context.arguments has customer.region && context.arguments.customer.region == \"EU\")",
            "(context.arguments has amount)",
        ])
    }

    fn about_part(&mut self) -> String {
        self.of(&[
            "(context.arguments has amount && context.arguments.amount * 2 > 1000)",
            "context.arguments.note == \"EU\"",
            "(context.arguments.deep.x < 500)",
            "(context.arguments.deep has y.z && context.arguments.deep.y.z == \"a\")",
            "(context.arguments.deep has y && context.arguments.deep.y has z)",
            "(context.arguments has amount && -(context.arguments.amount) < -13)",
        ])
    }

    fn about_all(&mut self, depth: usize) -> String {
        match self.dice.below(14) {
            0 | 1 => {
                let sign = self.of(&COMPARE);
                format!("({} {sign} {})", self.long(depth), self.long(depth))
            }
            2 => format!("({} like \"{}\")", self.text(), self.of(&PATTERNS)),
            3 => format!("({} {} {})", self.text(), self.of(&["==", "!="]), self.text()),
            4 => {
                let method = self.of(&["containsAll", "containsAny"]);
                format!("{}.{method}({})", self.texts(), self.texts())
            }
            5 => format!("{}.contains({})", self.texts(), self.text()),
            6 => self.ids(),
            7 => self.customer(depth),
            8 | 9 => self.decimal(),
            10 => self.address(),
            11 => self.limit(depth),
            _ => self.times(depth),
        }
    }

    fn ids(&mut self) -> String {
        let test = self.of(&[
            ".contains(13)",
            ".containsAny([13, 40])",
            ".containsAll([1, 2])",
            " == [1, 2]",
            ".isEmpty()",
            " == [2, 1, 1]",
            " != [13]",
        ]);
        let flags = self.of(&[" == [true]", ".contains(false)", ".isEmpty()"]);
        self.of(&[
            &format!("(context.arguments has ids && context.arguments.ids{test})"),
            &format!("(context.arguments has flags && context.arguments.flags{flags})"),
            "(context.arguments has flag && context.arguments.flag)",
            "([\"a\", \"b\"] == [\"b\", \"a\"])",
        ])
    }

    fn customer(&mut self, depth: usize) -> String {
        let (sign, text, long) = (self.of(&["==", "!="]), self.text(), self.long(depth));
        let has = "context.arguments has customer";
        let customer = "context.arguments.customer";
        self.of(&[
            has,
            &format!("({has} && {customer} has region)"),
            &format!("({has}.region)"),
            &format!("({has}.region && {customer}.region {sign} {text})"),
            &format!("({has} && ({customer}.tier < {long} || {customer} has region))"),
            &format!("(if {has} then {customer}.tier == 3 else false)"),
        ])
    }

    fn decimal(&mut self) -> String {
        let argument = self.of(&["rate", "price"]);
        let (method, literal) = (self.of(&DECIMAL_METHODS), self.of(&DECIMALS));
        let test = self.of(&[
            &format!("context.arguments.{argument}.{method}(decimal(\"{literal}\"))"),
            &format!("context.arguments.{argument} == decimal(\"{literal}\")"),
        ]);
        format!("(context.arguments has {argument} && {test})")
    }

    fn address(&mut self) -> String {
        let (argument, range) = *self.dice.pick(&[
            ("from4", "10.0.0.0/8"),
            ("from4", "0.0.0.0/0"),
            ("from4", "10.1.2.3"),
            ("from4", "::/0"),
            ("from6", "fe80::/10"),
            ("from6", "::/0"),
            ("from6", "0.0.0.0/0"),
            ("from6", "::1"),
        ]);
        let test = self.of(&[
            ".isIpv4()",
            ".isIpv6()",
            ".isLoopback()",
            ".isMulticast()",
            &format!(".isInRange(ip(\"{range}\"))"),
            &format!(" == ip(\"{range}\")"),
        ]);
        format!("(context.arguments has {argument} && context.arguments.{argument}{test})")
    }

    /// The argument that may be null.
    fn limit(&mut self, depth: usize) -> String {
        let long = self.long(depth);
        self.of(&[
            "(context.arguments has limit)",
            &format!("(context.arguments has limit && context.arguments.limit < {long})"),
            &format!(
                "(if context.arguments has limit then context.arguments.limit != {long} else true)"
            ),
        ])
    }

    fn times(&mut self, depth: usize) -> String {
        let sign = self.of(&COMPARE);
        if self.dice.chance(500) {
            format!("({} {sign} {})", self.at(depth), self.at(depth))
        } else {
            format!("({} {sign} {})", self.span(depth), self.span(depth))
        }
    }

    fn long(&mut self, depth: usize) -> String {
        if depth == 0 || self.dice.chance(500) {
            return self.of(&[
                "0",
                "500",
                "13",
                "-1",
                "9223372036854775807",
                "12857143",
                "context.arguments.amount",
                "context.arguments.amount",
                "context.arguments.deep.x",
            ]);
        }
        let below = depth - 1;
        match self.dice.below(6) {
            0 => format!("({} + {})", self.long(below), self.long(below)),
            1 => format!("({} - {})", self.long(below), self.long(below)),
            2 => format!("({} * {})", self.long(below), self.long(below)),
            3 => format!("(-({}))", self.long(below)),
            4 => {
                let (test, yes, no) = (self.bool(below), self.long(below), self.long(below));
                format!("(if {test} then {yes} else {no})")
            }
            _ => {
                let unit =
                    self.of(&["toHours", "toDays", "toMinutes", "toSeconds", "toMilliseconds"]);
                format!("{}.{unit}()", self.span(below))
            }
        }
    }

    fn text(&mut self) -> String {
        self.of(&[
            "context.arguments.note",
            "context.arguments.note",
            "context.era",
            "\"EU\"",
            "\"main\"",
            "\"ssn\"",
            "\"é*ü\"",
            "\"\"",
        ])
    }

    fn texts(&mut self) -> String {
        self.of(&[
            "context.arguments.fields",
            "context.arguments.fields",
            "[\"id\"]",
            "[\"id\", \"ssn\"]",
            "[\"EU\", \"main\", \"a\"]",
        ])
    }

    fn at(&mut self, depth: usize) -> String {
        if depth == 0 || self.dice.chance(500) {
            let due = "(if context.arguments has due then context.arguments.due else context.now)";
            let day = "(if context.arguments has day then context.arguments.day else context.now)";
            let all = ["context.now", "datetime(\"2026-05-01\")", due, day];
            let known = if self.tool == Some(true) { 4 } else { 2 };
            return self.of(&all[..known]);
        }
        match self.dice.below(3) {
            0 => format!("{}.toDate()", self.at(depth - 1)),
            _ => format!("{}.offset({})", self.at(depth - 1), self.span(depth - 1)),
        }
    }

    fn span(&mut self, depth: usize) -> String {
        if depth == 0 || self.dice.chance(500) {
            let hold =
                "(if context.arguments has hold then context.arguments.hold else duration(\"1h\"))";
            let all = [
                "duration(\"1h\")",
                "duration(\"-1d\")",
                "duration(\"6h30m\")",
                "duration(\"0ms\")",
                "duration(\"-1ms\")",
                "duration(\"9223372036854775807ms\")",
                "context.now.toTime()",
                hold,
                hold,
            ];
            let known = if self.tool == Some(true) { 9 } else { 7 };
            return self.of(&all[..known]);
        }
        match self.dice.below(3) {
            0 => format!("{}.toTime()", self.at(depth - 1)),
            _ => format!("{}.durationSince({})", self.at(depth - 1), self.at(depth - 1)),
        }
    }
}
