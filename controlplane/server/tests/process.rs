//! The process itself: files that only it can read, flags that are refused, TLS, a graceful end.

mod support;

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use controlplane_server::Config;

fn command(data: &Path, flags: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis-control"));
    command.arg("--data-dir").arg(data).args(["--quic-listen", "127.0.0.1:0"]).args(flags);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn refused(data: &Path, flags: &[&str]) -> String {
    let output: Output = command(data, flags).output().unwrap();
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

fn started(data: &Path) -> (Child, Vec<String>) {
    let mut child = command(data, &["--listen", "127.0.0.1:0"]).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().take(3);
    let lines = lines.map(Result::unwrap).collect();
    (child, lines)
}

#[test]
fn it_says_where_it_listens_keeps_its_files_to_itself_and_ends_when_told() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let (mut child, lines) = started(&data);
    assert!(lines[0].contains("http://127.0.0.1:"), "{lines:?}");
    assert!(lines[2].ends_with("bootstrap-token"), "{lines:?}");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&data), 0o700);
    for entry in std::fs::read_dir(&data).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
    let token = support::read_token(&data.join("bootstrap-token"));
    assert!(token.starts_with("pct_"));
    let told = Command::new("kill").arg(child.id().to_string()).status().unwrap();
    assert!(told.success());
    assert!(child.wait().unwrap().success());
    let mut log = String::new();
    std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut log).unwrap();
    assert!(!log.contains(&token), "the token is in the log");
}

#[test]
fn what_would_leak_is_refused_with_the_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let plain = refused(&data, &["--listen", "0.0.0.0:0"]);
    assert!(plain.contains("--tls-cert") && plain.contains("--insecure-plain"), "{plain}");
    let key = data.join("seal.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let readable = refused(&data, &["--listen", "127.0.0.1:0"]);
    assert!(
        readable.contains("can be read by others") && readable.contains("chmod 600"),
        "{readable}"
    );
    std::fs::remove_file(&key).unwrap();
    let missing = refused(&data, &["--listen", "127.0.0.1:0"]);
    assert!(missing.contains("restore the key file"), "{missing}");
    let short = dir.path().join("passphrase");
    std::fs::write(&short, "short\n").unwrap();
    let weak =
        refused(&data, &["--listen", "127.0.0.1:0", "--passphrase-file", short.to_str().unwrap()]);
    assert!(weak.contains("shorter than 12 bytes"), "{weak}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rest_api_speaks_tls() {
    let dir = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let mut config = Config::embedded(dir.path().join("data"));
    (config.tls_cert, config.tls_key) = (Some(certificate), Some(key));
    let running = controlplane_server::start(config).await.unwrap();
    let ours = reqwest::Certificate::from_pem(made.cert.pem().as_bytes()).unwrap();
    let http = reqwest::Client::builder().no_proxy().tls_certs_only([ours]).build().unwrap();
    let url = format!("https://localhost:{}/v1/health", running.rest.port());
    let answer = http.get(&url).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let plain = http.get(url.replace("https", "http")).send().await;
    assert!(plain.is_err());
    running.stop().await;
}
