//! How much of anything the control plane takes. Each bound refuses by its name.
//!
//! Most are far above what a company writes and far below what would slow a compile or fill a disk;
//! where a bound comes from elsewhere, its source is told.

/// A folder's files together, so that one apply stays one small transaction.
pub const FOLDER_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Files of one folder.
pub const FOLDER_FILES_MAX: usize = 1_024;
/// A path inside the folder.
pub const PATH_BYTES_MAX: usize = 255;
/// One policy file or one file of policy tests.
pub const POLICY_BYTES_MAX: usize = 256 * 1024;
/// The body of any request: the folder, with JSON's escapes in its worst case.
pub const BODY_BYTES_MAX: usize = 2 * FOLDER_BYTES_MAX;

/// Objects of one kind in a revision.
pub const OBJECTS_OF_A_KIND_MAX: usize = 10_000;
/// Servers in a revision: the table addresses them with 16 bits; this is the tested size.
pub const SERVERS_MAX: usize = 1_000;
/// Tools that one server may offer.
pub const TOOLS_OF_A_SERVER_MAX: usize = 2_000;
/// A tool's definition as JSON: name, texts, schemas.
pub const TOOL_DEFINITION_BYTES_MAX: usize = 64 * 1024;
/// A tool's name; the protocol recommends at most 128 characters.
pub const TOOL_NAME_BYTES_MAX: usize = 128;
/// Servers, quotas, providers, secrets, appliances: a DNS label, RFC 1035 §2.3.4.
pub const LABEL_BYTES_MAX: usize = 63;
/// Names of API tokens, that is, of those who hold them.
pub const NAME_BYTES_MAX: usize = 64;
/// Tenants, users, agents, roles and groups, as an identity provider may spell them.
pub const PRINCIPAL_BYTES_MAX: usize = 256;
/// Members named in one role or group.
pub const MEMBERS_MAX: usize = 10_000;
/// Roles or groups of one key or one explained caller.
pub const ROLES_MAX: usize = 256;
/// Why somebody killed something; the kill list's own bound.
pub const REASON_BYTES_MAX: usize = 512;
/// A description, a message.
pub const TEXT_BYTES_MAX: usize = 1_024;
/// Certificates of a private authority, as PEM.
pub const CA_PEM_BYTES_MAX: usize = 64 * 1024;
/// A URL.
pub const URL_BYTES_MAX: usize = 2_048;
/// A list inside an object (hosts, origins, audiences, filters).
pub const LIST_MAX: usize = 256;
/// Inline JWKS documents and those fetched.
pub const JWKS_BYTES_MAX: usize = 128 * 1024;
/// Identity providers: the bundle's own bound.
pub const PROVIDERS_MAX: usize = 64;
/// Audiences of one provider: the verifier's own bound.
pub const AUDIENCES_MAX: usize = 16;
/// Quotas: the bundle's own bound.
pub const QUOTAS_MAX: usize = 256;

/// A secret's value. Header lines of common servers end at 8 KiB, so a longer one cannot be sent.
pub const SECRET_BYTES_MAX: usize = 8 * 1024;
/// Secrets in the store.
pub const SECRETS_MAX: usize = 10_000;
/// Kills in force at once: the kill list stays small enough to be pushed in one message.
pub const KILLS_MAX: usize = 1_024;
/// The longest life of a kill that expires, of a key and of a token: ten years.
pub const LIFE_S_MAX: u64 = 10 * 366 * 24 * 3_600;
/// API tokens of the control plane.
pub const TOKENS_MAX: usize = 1_000;
/// Appliances of one control plane.
pub const APPLIANCES_MAX: usize = 1_000;
/// How long an enrolment token can be used.
pub const ENROLMENT_LIFE_S: u64 = 15 * 60;
/// Enrolment tokens that wait to be used.
pub const ENROLMENTS_MAX: usize = 1_000;

/// Items of one page unless the request says less.
pub const PAGE_ITEMS_DEFAULT: u32 = 100;
/// Items of one page at most.
pub const PAGE_ITEMS_MAX: u32 = 1_000;
/// How long a follower's request may wait for news.
pub const WAIT_MS_MAX: u64 = 30_000;
/// Calls kept for questions; the audit log itself stays on the appliances.
pub const CALLS_KEPT: u64 = 200_000;
/// Entries of the admin log kept.
pub const ADMIN_ENTRIES_KEPT: u64 = 200_000;
/// Arguments in a question to `explain`, as JSON.
pub const ARGUMENTS_BYTES_MAX: usize = 64 * 1024;
/// Cases of all policy tests together.
pub const TEST_CASES_MAX: usize = 10_000;
