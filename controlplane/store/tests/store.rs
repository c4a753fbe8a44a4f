//! The store over a real file: schema, restart, conflicts, seals, one-time tokens, bounds.

use controlplane_api::objects::Policy;
use controlplane_api::wire::{AdminEntry, Call, Change, RoleOfToken, Target, Token};
use controlplane_api::{Kind, ObjectSet, Time};
use controlplane_store::{
    CallFilter, Fault, NewKill, NewRevision, PendingEnrolment, SCHEMA, SealSource, Slice, Store,
    Stored, TokenRow,
};
use zeroize::Zeroizing;

fn key() -> SealSource {
    SealSource::KeyFile(Zeroizing::new([7; 32]))
}

async fn open(dir: &tempfile::TempDir) -> Store {
    Store::open(&dir.path().join("control.db"), key()).await.unwrap()
}

fn with_policy(text: &str) -> ObjectSet {
    let mut set = ObjectSet::default();
    set.policies.insert("a.cedar".into(), Policy { text: text.into() });
    set
}

async fn commit(store: &Store, before: &Stored, next: &ObjectSet) -> Result<u64, Fault> {
    let new = NewRevision {
        before,
        next,
        author: "ann",
        how: Change::Apply,
        message: "why",
        at: Time(1_000),
    };
    store.commit(new).await.map(|revision| revision.revision)
}

#[tokio::test]
async fn all_migrations_make_the_schema() {
    let migrations: Vec<&str> =
        controlplane_store::MIGRATIONS.iter().map(|migration| migration.sql.as_str()).collect();
    let plain = |sql: &str| -> Vec<String> {
        let lines = sql.lines().map(str::trim).filter(|line| !line.starts_with("--"));
        lines.filter(|line| !line.is_empty()).map(str::to_owned).collect()
    };
    let mut made = tables(&migrations.join("\n")).await;
    let mut said = tables(SCHEMA).await;
    made.sort();
    said.sort();
    assert_eq!(made, said, "write into schema.sql what the migrations make");
    assert!(!plain(SCHEMA).is_empty());
}

async fn tables(sql: &str) -> Vec<String> {
    let pool = sqlx::SqlitePool::connect("sqlite::memory:").await.unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned())).execute(&pool).await.unwrap();
    let rows: Vec<(String,)> = sqlx::query_as("SELECT COALESCE(sql, name) FROM sqlite_master")
        .fetch_all(&pool)
        .await
        .unwrap();
    rows.into_iter().map(|(sql,)| sql.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

#[tokio::test]
async fn a_restart_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir).await;
    let first = store.current().await.unwrap();
    assert_eq!(first.revision, 0);
    assert_eq!(commit(&store, &first, &with_policy("one")).await.unwrap(), 1);
    let second = store.current().await.unwrap();
    assert_eq!(commit(&store, &second, &with_policy("two")).await.unwrap(), 2);
    store.set_secret("crm-key", b"value", "ann", Time(1)).await.unwrap();
    store.close().await;
    let store = open(&dir).await;
    assert_eq!(store.current().await.unwrap().set, with_policy("two"));
    assert_eq!(store.at_revision(1).await.unwrap().set, with_policy("one"));
    let kept = store.open_secret("crm-key").await.unwrap().unwrap();
    assert_eq!(kept.value.as_slice(), b"value");
    let list = store.revisions(Slice { after: 0, limit: 10 }).await.unwrap();
    assert_eq!(list.iter().map(|revision| revision.revision).collect::<Vec<_>>(), [2, 1]);
    assert_eq!((list[0].added, list[0].changed, list[0].removed), (0, 1, 0));
}

#[tokio::test]
async fn two_changes_of_the_same_revision_conflict() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir).await;
    let before = store.current().await.unwrap();
    commit(&store, &before, &with_policy("one")).await.unwrap();
    let refused = commit(&store, &before, &with_policy("two")).await;
    assert!(matches!(refused, Err(Fault::Conflict { expected: 0, found: 1 })), "{refused:?}");
    assert_eq!(store.current().await.unwrap().set, with_policy("one"));
}

#[tokio::test]
async fn an_object_that_went_and_came_back_is_one_history() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir).await;
    for text in ["one", "", "three"] {
        let before = store.current().await.unwrap();
        let next = if text.is_empty() { ObjectSet::default() } else { with_policy(text) };
        commit(&store, &before, &next).await.unwrap();
    }
    let has = |stored: &Stored| stored.set.get(Kind::Policy, "a.cedar").is_some();
    assert!(has(&store.at_revision(1).await.unwrap()));
    assert!(!has(&store.at_revision(2).await.unwrap()));
    assert!(has(&store.at_revision(3).await.unwrap()));
    assert!(matches!(store.at_revision(4).await, Err(Fault::Missing { .. })));
}

#[tokio::test]
async fn the_wrong_key_is_found_at_start() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir).await;
    store.close().await;
    let path = dir.path().join("control.db");
    let other = SealSource::KeyFile(Zeroizing::new([8; 32]));
    assert!(matches!(Store::open(&path, other).await, Err(Fault::Seal(_))));
    let phrase = SealSource::Passphrase(Zeroizing::new("x".into()));
    assert!(matches!(Store::open(&path, phrase).await, Err(Fault::Seal(_))));
}

#[tokio::test]
async fn a_passphrase_opens_what_it_sealed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("control.db");
    let phrase = |text: &str| SealSource::Passphrase(Zeroizing::new(text.to_owned()));
    let store = Store::open(&path, phrase("correct horse")).await.unwrap();
    store.keep_material("ca", b"key").await.unwrap();
    store.close().await;
    assert!(Store::open(&path, phrase("wrong")).await.is_err());
    let store = Store::open(&path, phrase("correct horse")).await.unwrap();
    assert_eq!(store.material("ca").await.unwrap().unwrap().as_slice(), b"key");
}

#[tokio::test]
async fn no_file_of_the_database_holds_a_secret() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir).await;
    let canary = b"canary-5d2f0e6b";
    store.set_secret("crm-key", canary, "ann", Time(1)).await.unwrap();
    store.keep_material("signing", canary).await.unwrap();
    store.close().await;
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        let found = bytes.windows(canary.len()).any(|window| window == canary);
        assert!(!found, "{}", path.display());
    }
}

#[tokio::test]
async fn kills_end_once_and_each_change_raises_the_serial() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir).await;
    let target = Target::Tool("crm/refund".into());
    let new = |expires_at| NewKill {
        target: &target,
        reason: "loop",
        author: "ann",
        at: Time(1_000),
        expires_at,
    };
    assert_eq!(store.kill_serial().await.unwrap(), 0);
    let first = store.add_kill(new(None)).await.unwrap();
    let second = store.add_kill(new(Some(Time(2_000)))).await.unwrap();
    assert_eq!((first.serial, second.serial), (1, 2));
    assert_eq!(store.expire_kills(Time(1_999)).await.unwrap(), 0);
    assert_eq!(store.kill_serial().await.unwrap(), 2);
    assert_eq!(store.expire_kills(Time(2_000)).await.unwrap(), 1);
    assert_eq!(store.kill_serial().await.unwrap(), 3);
    store.end_kill(first.id, "ann", Time(3_000)).await.unwrap();
    assert!(matches!(
        store.end_kill(first.id, "ann", Time(3_000)).await,
        Err(Fault::Missing { .. })
    ));
    assert_eq!(store.kill_serial().await.unwrap(), 4);
    assert_eq!(store.kills().await.unwrap(), []);
}

#[tokio::test]
async fn an_enrolment_token_works_once_and_only_in_its_time() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir).await;
    let pending = |sha256: &str| PendingEnrolment {
        sha256: sha256.into(),
        name: "edge-1".into(),
        created_by: "ann".into(),
        expires_at: Time(10_000),
    };
    for secret in ["a", "b", "c"] {
        store.add_enrolment(&pending(secret), Time(1)).await.unwrap();
    }
    let first = store.enrol("a", Time(2)).await.unwrap();
    assert_eq!((first.id.as_str(), first.revoked_at), ("edge-1", None));
    store.appliance_certified("edge-1", "01", Time(9)).await.unwrap();
    store.appliance_certified("edge-1", "02", Time(9)).await.unwrap();
    store.appliance_certified("edge-1", "03", Time(9)).await.unwrap();
    assert!(!store.is_admitted("edge-1", "01").await.unwrap());
    assert!(store.is_admitted("edge-1", "02").await.unwrap());
    assert!(store.is_admitted("edge-1", "03").await.unwrap());
    assert!(matches!(store.enrol("a", Time(3)).await, Err(Fault::Missing { .. })));
    assert!(matches!(store.enrol("c", Time(10_000)).await, Err(Fault::Missing { .. })));
    let second = store.enrol("b", Time(4)).await.unwrap();
    assert_eq!(second.id, "edge-1-2");
    assert!(!store.is_admitted("edge-1", "03").await.unwrap(), "the same name replaces the box");
}

#[tokio::test]
async fn the_last_admin_token_stays() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir).await;
    let row = |id: &str, expires_at| TokenRow {
        token: Token {
            id: id.into(),
            name: "ann".into(),
            role: RoleOfToken::Admin,
            created_at: Time(1),
            created_by: "start".into(),
            expires_at,
        },
        sha256: "00".into(),
    };
    store.add_token(&row("a", None)).await.unwrap();
    store.add_token(&row("expired", Some(Time(2)))).await.unwrap();
    assert!(matches!(store.remove_token("a", Time(5)).await, Err(Fault::LastAdmin)));
    store.add_token(&row("b", None)).await.unwrap();
    store.remove_token("a", Time(5)).await.unwrap();
    assert!(store.token("a").await.unwrap().is_none());
}

#[tokio::test]
async fn calls_are_kept_once_and_filtered() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir).await;
    let call = |index, user: &str| Call {
        index,
        appliance: "edge".into(),
        user: user.into(),
        at: Time(index),
        ..Call::default()
    };
    let calls = [call(0, "ann"), call(1, "bob")];
    assert_eq!(store.keep_calls("edge", 2, &calls).await.unwrap(), 2);
    store.keep_calls("edge", 2, &calls).await.unwrap();
    let all = CallFilter { limit: 10, ..CallFilter::default() };
    assert_eq!(store.calls(&all).await.unwrap().len(), 2);
    let bob = CallFilter { user: "bob".into(), ..all.clone() };
    assert_eq!(store.calls(&bob).await.unwrap()[0].index, 1);
    let late = CallFilter { since: Some(Time(1)), ..all.clone() };
    assert_eq!(store.calls(&late).await.unwrap().len(), 1);
    let newest = CallFilter { newest: true, limit: 1, ..all };
    assert_eq!(store.calls(&newest).await.unwrap()[0].index, 1);
}

#[tokio::test]
async fn the_admin_log_is_newest_first() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir).await;
    let entry = AdminEntry {
        id: 0,
        at: Time(1),
        who: "ann".into(),
        token_id: "a".into(),
        method: "POST".into(),
        path: "/v1/apply".into(),
        status: 200,
        outcome: "revision 1".into(),
    };
    for _ in 0..3 {
        store.log_admin(&entry).await.unwrap();
    }
    let page = store.admin_entries(Slice { after: 0, limit: 2 }).await.unwrap();
    assert_eq!(page.iter().map(|entry| entry.id).collect::<Vec<_>>(), [3, 2]);
    let page = store.admin_entries(Slice { after: 2, limit: 2 }).await.unwrap();
    assert_eq!(page.iter().map(|entry| entry.id).collect::<Vec<_>>(), [1]);
}

#[tokio::test]
async fn one_kill_too_many_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir).await;
    let target = Target::Server("crm".into());
    let new =
        || NewKill { target: &target, reason: "x", author: "ann", at: Time(1), expires_at: None };
    for _ in 0..controlplane_api::bounds::KILLS_MAX {
        store.add_kill(new()).await.unwrap();
    }
    assert!(matches!(store.add_kill(new()).await, Err(Fault::Full { .. })));
    store.end_kill(1, "ann", Time(2)).await.unwrap();
    store.add_kill(new()).await.unwrap();
}

#[tokio::test]
async fn one_token_too_many_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir).await;
    let row = |id: usize| TokenRow {
        token: Token {
            id: id.to_string(),
            name: "ann".into(),
            role: RoleOfToken::Auditor,
            created_at: Time(1),
            created_by: "start".into(),
            expires_at: None,
        },
        sha256: "00".into(),
    };
    for id in 0..controlplane_api::bounds::TOKENS_MAX {
        store.add_token(&row(id)).await.unwrap();
    }
    assert!(matches!(store.add_token(&row(usize::MAX)).await, Err(Fault::Full { .. })));
}

#[tokio::test]
async fn one_enrolment_too_many_is_refused_until_others_expire() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir).await;
    let pending = |number: usize| PendingEnrolment {
        sha256: number.to_string(),
        name: "edge".into(),
        created_by: "ann".into(),
        expires_at: Time(10),
    };
    for number in 0..controlplane_api::bounds::ENROLMENTS_MAX {
        store.add_enrolment(&pending(number), Time(1)).await.unwrap();
    }
    let one_more = pending(usize::MAX);
    assert!(matches!(store.add_enrolment(&one_more, Time(9)).await, Err(Fault::Full { .. })));
    store.add_enrolment(&one_more, Time(10)).await.unwrap();
}
