//! The table's bytes: what each part is, and how it is read and written.
//!
//! A table is a header and then flat arrays of fixed-size little-endian records, in one fixed order,
//! with no gap between them; strings lie in one arena of UTF-8. Records name each other by index.
//! [`Layout::decode`] only reads: whether the indices make sense is for `verify` to say.
//!
//! A field is added by raising [`VERSION`]; a table of another version is refused, never guessed at.

use crate::program::{Node, Op};

/// The first eight bytes of every table.
pub const MAGIC: [u8; 8] = *b"PCTABLE\x01";

/// The version of this layout. Old appliances refuse newer tables, and newer ones older tables.
pub const VERSION: u32 = 1;

/// Larger tables are refused before anything is allocated. A thousand policies over two thousand
/// tools and two hundred classes measured below 1 MiB; this leaves room for fifty times that.
pub const TABLE_BYTES_MAX: usize = 64 << 20;

/// "None", wherever an index may be missing.
pub const NONE: u32 = u32::MAX;

/// "None", where a register may be missing.
pub const NO_REGISTER: u8 = u8::MAX;

/// Why bytes are not a table: the part and the rule that it breaks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Malformed {
    /// The part of the table, as in [`Layout`].
    pub part: &'static str,
    /// The rule that does not hold.
    pub rule: &'static str,
}

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "policy table refused: {}: {}", self.part, self.rule)
    }
}

impl std::error::Error for Malformed {}

/// Reads records from the front of a slice.
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(head)
    }
}

/// A value with one spelling in bytes.
pub trait Wire: Sized {
    /// Bytes that it takes, always.
    const SIZE: usize;
    /// Appends it.
    fn put(&self, out: &mut Vec<u8>);
    /// Reads it, or `None` at the end or at a value that does not exist.
    fn take(from: &mut Reader<'_>) -> Option<Self>;
}

macro_rules! wire_integer {
    ($($ty:ty),*) => { $(
        impl Wire for $ty {
            const SIZE: usize = size_of::<$ty>();
            fn put(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }
            fn take(from: &mut Reader<'_>) -> Option<Self> {
                Some(<$ty>::from_le_bytes(from.take()?))
            }
        }
    )* };
}
wire_integer!(u8, u16, u32, u64);

/// An enumeration as one byte: the position in `ALL`.
macro_rules! wire_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        #[repr(u8)]
        pub enum $name { $($(#[$vdoc])* $variant),* }

        impl $name {
            const ALL: &'static [Self] = &[$(Self::$variant),*];
        }

        impl $crate::layout::Wire for $name {
            const SIZE: usize = 1;
            fn put(&self, out: &mut Vec<u8>) {
                out.push(*self as u8);
            }
            fn take(from: &mut $crate::layout::Reader<'_>) -> Option<Self> {
                Self::ALL.get(usize::from(u8::take(from)?)).copied()
            }
        }
    };
}

macro_rules! record {
    ($(#[$doc:meta])* $name:ident { $($(#[$fdoc:meta])* $field:ident: $ty:ty),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
        pub struct $name { $($(#[$fdoc])* pub $field: $ty),* }

        impl $crate::layout::Wire for $name {
            const SIZE: usize = 0 $(+ <$ty as $crate::layout::Wire>::SIZE)*;
            fn put(&self, out: &mut Vec<u8>) {
                $($crate::layout::Wire::put(&self.$field, out);)*
            }
            fn take(from: &mut $crate::layout::Reader<'_>) -> Option<Self> {
                Some(Self { $($field: $crate::layout::Wire::take(from)?),* })
            }
        }
    };
}
pub(crate) use record;

record! {
    /// A string: bytes `at..at + len` of the arena.
    Text { at: u32, len: u32 }
}

record! {
    /// An upstream server and its part of the matrix.
    Server {
        name: Text,
        /// Its tools lie together, sorted by name.
        tool_first: u32,
        tool_count: u32,
        /// The facts that its policies ask about, in `server_facts`, ascending.
        fact_first: u32,
        fact_count: u32,
        /// Its classes, sorted by signature; a signature is a bit a fact, in whole words.
        class_first: u32,
        class_count: u32,
        signature_first: u32,
        /// Rows × columns of cells, row by row.
        cell_first: u32,
        row_count: u32,
        column_count: u32,
    }
}

record! {
    /// A tool.
    Tool {
        name: Text,
        server: u32,
        /// The column of its server's cells.
        column: u32,
        /// The guard of its arguments, or `NONE` when no policy looks at them.
        guard: u32,
        /// The cell for callers whose signature has no row: membership is tested, not assumed.
        fallback: u32,
    }
}

record! {
    /// A program: nodes `start..start + len`, entered at `entry`.
    Program {
        start: u32,
        len: u16,
        entry: u16,
        /// Permits with obligations, in `obliged`: bit n of a decision stands for the n-th.
        obliged_first: u32,
        obliged_count: u32,
    }
}

wire_enum! {
    /// What a constant is.
    ConstantKind { Bool, Long, Text, Entity, Decimal, Datetime, Duration, Ip, Set, Pattern }
}

record! {
    /// A constant. `p` and `q` hold the value: an integer (two's complement), the arena range
    /// (`p` = at), the members (`p` = first, `len` of them), or the address (`p` high, `q` low).
    Constant { kind: ConstantKind, prefix: u8, v6: u8, pad: u8, len: u32, p: u64, q: u64 }
}

record! {
    /// Checks one JSON object: its fields, and whether others may be there.
    Guard { first: u32, count: u32, closed: u8, pad: u8, pad2: u16 }
}

wire_enum! {
    /// What a field must be. The first word is the JSON, the rest how it is read.
    FieldType {
        /// Not looked at: it is named because the object is closed.
        Any,
        Bool,
        /// A JSON integer within 64 bits, signed.
        Long,
        /// A string.
        Text,
        /// A string: a decimal as policies write it.
        Decimal,
        /// A JSON number with at most four decimal places.
        Number,
        /// A string: RFC 3339 `date-time`, to the millisecond.
        Datetime,
        /// A string: RFC 3339 `full-date`.
        Date,
        /// A string: ISO 8601, weeks, or days to seconds.
        Duration,
        /// A string: one IPv4 address.
        Ipv4,
        /// A string: one IPv6 address that is not IPv4 in disguise.
        Ipv6,
        SetText,
        SetLong,
        SetBool,
        /// An object with a guard of its own.
        Record,
    }
}

record! {
    /// A field of a JSON object. `path` is for people; its last `name_len` bytes are the key.
    Field {
        path: Text,
        name_len: u32,
        /// The guard of a record, else `NONE`. Always a lower index than the guard it is in.
        kids: u32,
        kind: FieldType,
        register: u8,
        required: u8,
        /// JSON `null` reads as absent, because the pinned schema says so.
        nullable: u8,
    }
}

record! {
    /// A policy, for people: where it stands.
    Policy { id: Text, file: Text, line: u32, column: u32, duty_first: u32, duty_count: u32 }
}

record! {
    /// An obligation of a policy: an annotation and its value.
    Duty { key: Text, value: Text }
}

wire_enum! {
    /// What a fact, a member or an entity is.
    FactKind { Role, Group, Tenant, User, Agent, Service, Kind, Server, Tool, Action }
}

record! {
    /// Something that is true of a caller or not; a bit of its subject.
    Fact { kind: FactKind, name: Text }
}

record! {
    /// What a name brings along: facts `first..first + count` of `member_facts`.
    Member { kind: FactKind, name: Text, first: u32, count: u32 }
}

record! {
    /// An entity that constants name; its index is its value.
    Entity { kind: FactKind, name: Text }
}

impl Wire for Op {
    const SIZE: usize = 1;
    fn put(&self, out: &mut Vec<u8>) {
        out.push(*self as u8);
    }
    fn take(from: &mut Reader<'_>) -> Option<Self> {
        Self::from_byte(u8::take(from)?)
    }
}

macro_rules! layout {
    ($($(#[$doc:meta])* $part:ident: $ty:ty),* $(,)?) => {
        /// All parts of a table, as written.
        #[derive(Clone, Debug, Default, Eq, PartialEq)]
        pub struct Layout { pub arena: String, $($(#[$doc])* pub $part: Vec<$ty>),* }

        const PARTS: usize = 1 $(+ { let _ = stringify!($part); 1 })*;

        impl Layout {
            /// The bytes of this table.
            ///
            /// # Errors
            /// When a part has more records than fit, or the whole is above [`TABLE_BYTES_MAX`].
            pub fn encode(&self) -> Result<Vec<u8>, Malformed> {
                let mut body = Vec::new();
                let mut counts = vec![count(self.arena.len(), "arena")?];
                body.extend_from_slice(self.arena.as_bytes());
                $(
                    counts.push(count(self.$part.len(), stringify!($part))?);
                    self.$part.iter().for_each(|record| record.put(&mut body));
                )*
                seal(&counts, &body)
            }

            /// Reads the parts; says nothing about their sense.
            ///
            /// # Errors
            /// When a part is cut, a value does not exist, or bytes are left over.
            pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
                let (counts, mut reader) = open(bytes)?;
                let mut counts = counts.into_iter();
                let mut next = || counts.next().map_or(0, |n| n as usize);
                let arena = reader.bytes(next()).ok_or(cut("arena"))?;
                let arena = std::str::from_utf8(arena).map_err(|_| Malformed {
                    part: "arena",
                    rule: "strings are UTF-8",
                })?;
                let layout = Self {
                    arena: arena.to_owned(),
                    $($part: take_all(&mut reader, next(), stringify!($part))?),*
                };
                match reader.0 {
                    [] => Ok(layout),
                    _ => Err(Malformed { part: "header", rule: "nothing follows the last part" }),
                }
            }
        }
    };
}

layout! {
    servers: Server,
    tools: Tool,
    server_facts: u32,
    signatures: u64,
    /// The row of each class, within its server.
    classes: u32,
    /// Two bits of kind, then a policy or a program. See `table::Cell`.
    cells: u32,
    programs: Program,
    nodes: Node,
    constants: Constant,
    guards: Guard,
    fields: Field,
    obliged: u32,
    policies: Policy,
    duties: Duty,
    facts: Fact,
    members: Member,
    member_facts: u32,
    entities: Entity,
}

fn cut(part: &'static str) -> Malformed {
    Malformed { part, rule: "every record is whole and every value exists" }
}

fn count(len: usize, part: &'static str) -> Result<u32, Malformed> {
    u32::try_from(len).map_err(|_| Malformed { part, rule: "a part has fewer than 2^32 records" })
}

fn seal(counts: &[u32], body: &[u8]) -> Result<Vec<u8>, Malformed> {
    let mut out = Vec::with_capacity(body.len() + 64 + counts.len() * 4);
    out.extend_from_slice(&MAGIC);
    VERSION.put(&mut out);
    counts.iter().for_each(|count| count.put(&mut out));
    out.extend_from_slice(body);
    if out.len() > TABLE_BYTES_MAX {
        return Err(Malformed { part: "header", rule: "a table has at most 64 MiB" });
    }
    Ok(out)
}

fn open(bytes: &[u8]) -> Result<(Vec<u32>, Reader<'_>), Malformed> {
    let header = |rule| Malformed { part: "header", rule };
    if bytes.len() > TABLE_BYTES_MAX {
        return Err(header("a table has at most 64 MiB"));
    }
    let mut reader = Reader(bytes);
    if reader.take::<8>() != Some(MAGIC) {
        return Err(header("the first bytes are a table's"));
    }
    if u32::take(&mut reader) != Some(VERSION) {
        return Err(header("the version is 1"));
    }
    let mut counts = Vec::with_capacity(PARTS);
    for _ in 0..PARTS {
        counts.push(u32::take(&mut reader).ok_or(cut("header"))?);
    }
    Ok((counts, reader))
}

/// Takes the bytes first, so that a lying count allocates nothing.
fn take_all<T: Wire>(
    reader: &mut Reader<'_>,
    count: usize,
    part: &'static str,
) -> Result<Vec<T>, Malformed> {
    let length = count.checked_mul(T::SIZE).ok_or(cut(part))?;
    let mut records = Reader(reader.bytes(length).ok_or(cut(part))?);
    let mut out = Vec::with_capacity(count);
    for _ in 0..count {
        out.push(T::take(&mut records).ok_or(cut(part))?);
    }
    Ok(out)
}
