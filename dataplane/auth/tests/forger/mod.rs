//! The table of forged tokens: why each is wrong, and by which rule it is to be refused.
//!
//! All but those that say otherwise carry a right signature of the issuer's own key, so that it is
//! the rule under test which refuses them, and none is refused only by luck.

use ring::hmac;

use crate::issuer::{
    ALL, AUDIENCE, EC_X, EC_Y, ED_X, ISSUER, Issuer, NOW_S, RSA_N, With, claims, decode, encode,
    jwks, rsa_public_der,
};

/// Why, the token, and the name of the refusal.
pub(crate) type Forged = (String, Vec<u8>, &'static str);

struct Forger {
    issuer: Issuer,
    with: With,
    forged: Vec<Forged>,
}

impl Forger {
    fn raw(&mut self, why: &str, token: impl Into<Vec<u8>>, rule: &'static str) {
        self.forged.push((format!("{:?}: {why}", self.with), token.into(), rule));
    }

    /// Signed rightly.
    fn header(&mut self, header: &str, rule: &'static str) {
        let token = self.issuer.token(self.with, header, claims(""));
        self.raw(&format!("header {header}"), token, rule);
    }

    /// Signed rightly, with one more parameter beside the good ones.
    fn parameter(&mut self, name: &str, value: &str, rule: &'static str) {
        let more = format!(r#"{{"{name}":{value},"#);
        self.header(&self.with.header().replacen('{', &more, 1), rule);
    }

    /// Signed rightly.
    fn claims(&mut self, claims: &str, rule: &'static str) {
        let token = self.issuer.token(self.with, self.with.header(), claims);
        self.raw(&format!("claims {claims}"), token, rule);
    }

    /// Good claims but for one, which is replaced, or left out where `value` is empty.
    fn claim(&mut self, name: &str, value: &str, rule: &'static str) {
        let mut all: serde_json::Map<_, _> = serde_json::from_str(&claims("")).unwrap();
        all.remove(name);
        let rest = serde_json::to_string(&all).unwrap();
        let one = if value.is_empty() { "{".to_owned() } else { format!(r#"{{"{name}":{value},"#) };
        self.claims(&rest.replacen('{', &one, 1), rule);
    }
}

pub(crate) fn forged(with: With) -> Vec<Forged> {
    let mut forger = Forger { issuer: Issuer::new(), with, forged: Vec::new() };
    algorithms(&mut forger);
    parameters(&mut forger);
    kinds_and_key_names(&mut forger);
    issuers_and_audiences(&mut forger);
    times(&mut forger);
    names(&mut forger);
    documents(&mut forger);
    spellings(&mut forger);
    signatures(&mut forger);
    forger.forged
}

fn algorithms(forger: &mut Forger) {
    let (own, kid) = (forger.with.alg(), forger.with.kid());
    for alg in [
        "none",
        "None",
        "NONE",
        "nOnE",
        "",
        " ",
        "HS256",
        "HS384",
        "HS512",
        "RS256",
        "RS384",
        "RS512",
        "PS256",
        "PS384",
        "PS512",
        "ES256",
        "ES256K",
        "ES384",
        "ES512",
        "EdDSA",
        "Ed25519",
        "Ed448",
        "ML-DSA-44",
        "dir",
        "RSA-OAEP",
        "A128KW",
    ] {
        let alias = own == "EdDSA" && alg == "Ed25519";
        if alg != own && !alias {
            forger.header(&format!(r#"{{"alg":"{alg}","kid":"{kid}"}}"#), "algorithm");
        }
    }
    for alg in [own.to_lowercase(), format!("{own} "), format!("{own}\\u0000")] {
        if alg != own {
            forger.header(&format!(r#"{{"alg":"{alg}","kid":"{kid}"}}"#), "algorithm");
        }
    }
    forger.header(&format!(r#"{{"kid":"{kid}"}}"#), "no_algorithm");
    for value in ["null", "7", "true", r#"["RS256"]"#, "{}"] {
        forger.header(&format!(r#"{{"alg":{value},"kid":"{kid}"}}"#), "json");
    }
    // No signature at all.
    let good = claims("");
    let none = format!(r#"{{"alg":"none","kid":"{kid}"}}"#);
    forger.raw("none", format!("{}.{}.", encode(&none), encode(&good)), "parts");
    forger.raw("none, no dot", format!("{}.{}", encode(&none), encode(&good)), "parts");
    let padded = format!("{}.{}.{}", encode(&none), encode(&good), encode("x"));
    forger.raw("none, some signature", padded, "algorithm");
    // Public keys as HMAC secrets, in every spelling that a library might hand to HMAC.
    let mut point = vec![4];
    point.extend([decode(EC_X), decode(EC_Y)].concat());
    for secret in [
        rsa_public_der(),
        decode(RSA_N),
        RSA_N.into(),
        point,
        decode(ED_X),
        ED_X.into(),
        jwks().into_bytes(),
        Vec::new(),
    ] {
        let header = format!(r#"{{"alg":"HS256","kid":"{kid}"}}"#);
        let signed = format!("{}.{}", encode(header), encode(&good));
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), signed.as_bytes());
        forger.raw("HMAC confusion", format!("{signed}.{}", encode(tag)), "algorithm");
        let own_name = format!("{}.{}", encode(forger.with.header()), encode(&good));
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), own_name.as_bytes());
        forger.raw("HMAC under our name", format!("{own_name}.{}", encode(tag)), "signature");
    }
}

fn parameters(forger: &mut Forger) {
    let url = r#""https://evil.example.com/jwks.json""#;
    let jwk = format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{ED_X}","kid":"eddsa"}}"#);
    for (name, value) in [
        ("jku", url),
        ("jku", "\"\""),
        ("jku", "null"),
        ("jwk", &jwk),
        ("jwk", "{}"),
        ("jwk", "null"),
        ("x5u", url),
        ("x5u", "null"),
        ("x5c", r#"["MIIB"]"#),
        ("x5c", "[]"),
        ("crit", r#"["exp"]"#),
        ("crit", r#"["b64"]"#),
        ("crit", "[]"),
        ("crit", "null"),
        ("b64", "false"),
        ("b64", "true"),
        ("zip", "\"DEF\""),
        ("enc", "\"A128GCM\""),
        ("epk", "{}"),
        ("cty", "\"JWT\""),
        ("\\u006aku", url),
        ("j\\u0077k", &jwk),
    ] {
        forger.parameter(name, value, "header_parameter");
    }
}

fn kinds_and_key_names(forger: &mut Forger) {
    let (alg, kid) = (forger.with.alg(), forger.with.kid());
    for typ in [
        "oauth-id-jag+jwt",
        "OAuth-ID-JAG+JWT",
        "application/oauth-id-jag+jwt",
        "dpop+jwt",
        "logout+jwt",
        "secevent+jwt",
        "token-introspection+jwt",
        "oauth-authz-req+jwt",
        "client-authentication+jwt",
        "JWE",
        "JOSE",
        "JOSE+JSON",
        "",
        "JWT ",
        "at+jwt;x=y",
        "application/jwt2",
        "entity-statement+jwt",
        "kb+jwt",
    ] {
        forger.header(&format!(r#"{{"alg":"{alg}","kid":"{kid}","typ":"{typ}"}}"#), "type");
    }
    for typ in ["null", "7", "[\"JWT\"]"] {
        forger.header(&format!(r#"{{"alg":"{alg}","kid":"{kid}","typ":{typ}}}"#), "json");
    }
    forger.header(&format!(r#"{{"alg":"{alg}"}}"#), "no_key_id");
    for value in ["null", "7", "[\"rs256\"]", "{}"] {
        forger.header(&format!(r#"{{"alg":"{alg}","kid":{value}}}"#), "json");
    }
    for name in [
        "",
        "unknown",
        "../../dev/null",
        "/dev/null",
        "file:///etc/passwd",
        "https://evil.example.com/key",
        "x' OR '1'='1",
        "; id",
        "$(id)",
        "RS256",
        "ES256 ",
        "eddsa\\u0000",
        "\\u0000",
        "0",
        "null",
    ] {
        forger.header(&format!(r#"{{"alg":"{alg}","kid":"{name}"}}"#), "unknown_key");
    }
    // The name of another key of the same issuer.
    for other in ALL {
        if other != forger.with {
            let header = format!(r#"{{"alg":"{alg}","kid":"{}"}}"#, other.kid());
            forger.header(&header, "algorithm");
            let header = other.header();
            forger.header(&header, "signature");
        }
    }
}

fn issuers_and_audiences(forger: &mut Forger) {
    for issuer in [
        "",
        "https://evil.example.com",
        "https://idp.example.com/",
        "https://idp.example.com ",
        "https://IDP.example.com",
        "HTTPS://idp.example.com",
        "http://idp.example.com",
        "https://idp.example.com:443",
        "https://idp.example.com\\u0000",
        "https://idp.example.com.evil.com",
        "https://idp.example.co",
        "okta",
        "https://idp.example.com#x",
        "https://idp.example.com@evil.com",
    ] {
        forger.claim("iss", &format!("\"{issuer}\""), "unknown_issuer");
    }
    for value in ["null", "7", "{}", &format!("[\"{ISSUER}\"]")] {
        forger.claim("iss", value, "claim");
    }
    forger.claim("iss", "", "missing_claim");
    // The other provider trusts another key, under a name that this one has too.
    let rule = if forger.with == With::EdDsa { "signature" } else { "unknown_key" };
    forger.claim("iss", "\"https://other.example.com\"", rule);

    for audience in [
        "",
        "https://gateway.example.com/mcp",
        "https://gateway.example.com",
        "https://gateway.example.com/servers/crm/mcp/",
        "https://gateway.example.com/servers/crm",
        "https://gateway.example.com/servers/hr/mcp",
        "https://gateway.example.com/servers/CRM/mcp",
        "http://gateway.example.com/servers/crm/mcp",
        "https://evil.example.com/servers/crm/mcp",
        "https://gateway.example.com/servers/crm/mcp#x",
        "*",
        "api://gateway/",
        "api://gatewa",
        "https://gateway.example.com:443/servers/crm/mcp",
        "API://gateway",
        "ide",
    ] {
        forger.claim("aud", &format!("\"{audience}\""), "audience");
        forger.claim("aud", &format!("[\"x\",\"{audience}\"]"), "audience");
    }
    forger.claim("aud", "[]", "audience");
    forger.claim("aud", "", "missing_claim");
    for value in ["null", "7", "true", "{}", "[7]", "[null]", "[[]]"] {
        forger.claim("aud", value, "claim");
    }
    for odd in ["null", "7", "{}", "[\"x\"]"] {
        forger.claim("aud", &format!("[\"{AUDIENCE}\",{odd}]"), "claim");
    }
    let many = "\"x\",".repeat(16);
    forger.claim("aud", &format!("[{many}\"{AUDIENCE}\"]"), "claim");
    forger.claim("cnf", r#"{"jkt":"x"}"#, "bound");
    forger.claim("cnf", "null", "bound");
}

fn times(forger: &mut Forger) {
    for exp in [NOW_S - 30, NOW_S - 31, NOW_S - 86_400, 1, 0] {
        forger.claim("exp", &exp.to_string(), "expired");
    }
    for exp in ["1799999969.9", "0.0", "0.5", "1e9", "-0.0"] {
        forger.claim("exp", exp, "expired");
    }
    forger.claim("exp", "", "missing_claim");
    for value in [
        "null",
        "\"1800000600\"",
        "\"never\"",
        "true",
        "[1800000600]",
        "{}",
        "-1",
        "-1800000600",
        "1e300",
        "1e10",
        "99999999999999999999",
        "18446744073709551615",
        "18446744074",
        "1e19",
        "9223372036854775807",
    ] {
        forger.claim("exp", value, "claim");
    }
    for value in [
        "1e400",
        "01800000600",
        "+1800000600",
        "0x6b49d200",
        "1_800_000_600",
        "NaN",
        "Infinity",
        "1800000600.",
        ".5",
        "1.8e",
    ] {
        forger.claims(&claims("").replace(&(NOW_S + 600).to_string(), value), "json");
    }
    for from in [NOW_S + 31, NOW_S + 600, 18_446_744_073] {
        forger.claim("nbf", &from.to_string(), "not_yet");
        forger.claim("iat", &from.to_string(), "issued_in_future");
    }
    for name in ["nbf", "iat"] {
        for value in ["null", "\"1\"", "-1", "1e300", "18446744073709551615"] {
            forger.claim(name, value, "claim");
        }
    }
}

fn names(forger: &mut Forger) {
    let long = format!("\"{}\"", "x".repeat(257));
    for name in ["org", "sub", "client_id", "jti"] {
        for value in ["7", "true", "{}", "[\"x\"]", "\"\"", "\"a\\u0000b\"", "\"a\\nb\"", &long] {
            forger.claim(name, value, "claim");
        }
    }
    // A tenant with a slash would make its users look like another tenant's.
    for tenant in ["acme/ann", "/", "acme/"] {
        forger.claim("org", &format!("\"{tenant}\""), "claim");
    }
    forger.claim("org", "null", "missing_claim");
    forger.claim("org", "", "missing_claim");
    let nobody = claims("").replace(r#""sub":"ann","#, "").replace(r#""client_id":"ide","#, "");
    forger.claims(&nobody, "missing_claim");
    for value in ["7", "true", "{}", "[7]", "[null]", "[\"\"]", "[\"a\\tb\"]", &format!("[{long}]")]
    {
        forger.claim("groups", value, "claim");
    }
    let many = vec!["\"g\""; 257].join(",");
    forger.claim("groups", &format!("[{many}]"), "claim");
    let many = vec!["g"; 257].join(" ");
    forger.claim("groups", &format!("\"{many}\""), "claim");
    forger.claim("act", r#"{"sub":7}"#, "claim");
}

fn documents(forger: &mut Forger) {
    let header = forger.with.header();
    // Twice the same key, also where one of the two spellings is escaped.
    for (name, value) in [
        ("iss", "\"https://evil.example.com\""),
        ("aud", "\"x\""),
        ("exp", "1"),
        ("exp", "9999999999"),
        ("sub", "\"root\""),
        ("org", "\"other\""),
        ("groups", "[\"admin\"]"),
        ("\\u0069ss", "\"x\""),
        ("e\\u0078p", "9999999999"),
        ("\\u006frg", "\"other\""),
    ] {
        forger.claims(&claims(&format!(r#""{name}":{value},"#)), "json");
        let after = format!(r#","{name}":{value}}}"#);
        let mut claims = claims("");
        claims.pop();
        forger.claims(&(claims + &after), "json");
    }
    forger.claims(&claims(r#""deep":{"a":1,"a":2},"#), "json");
    forger.claims(&claims(r#""deep":[{"a":1,"\u0061":2}],"#), "json");
    for (name, value) in
        [("alg", "\"none\""), ("kid", "\"x\""), ("typ", "\"x\""), ("a\\u006cg", "\"none\"")]
    {
        forger.header(&header.replacen('{', &format!(r#"{{"{name}":{value},"#), 1), "json");
    }
    for text in [
        "",
        "null",
        "7",
        "\"x\"",
        "[]",
        "{",
        "{}x",
        "{}{}",
        "\u{feff}{}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{a:1}",
        "{'a':1}",
        "//\n{}",
        "{\"a\":\"\\ud800\"}",
        "{\"a\":\"\\udc00\\ud800\"}",
        "\0{}",
    ] {
        if !text.is_empty() {
            forger.header(text, "json");
            forger.claims(text, "json");
        }
    }
    let lone = claims("").replace("\"ann\"", "\"\\udead\"");
    forger.claims(&lone, "json");
    let deep = format!("\"deep\":{}1{},", "[".repeat(16), "]".repeat(16));
    forger.claims(&claims(&deep), "json");
    let deep = format!("\"deep\":{}", "[".repeat(3_000));
    forger.claims(&claims(&deep), "json");
    let mut bytes = claims("").into_bytes();
    bytes.retain(|byte| *byte != b'}');
    for wrong in
        [&b"\"\xff\":1}"[..], b",\"\xc0\x80\":1}", b",\"\xed\xa0\x80\":1}", b",\"\xf8\":1}"]
    {
        let claims = [&bytes, wrong].concat();
        let token = forger.issuer.token(forger.with, &header, claims);
        forger.raw("not UTF-8", token, "json");
    }
}

fn spellings(forger: &mut Forger) {
    let good = forger.issuer.good(forger.with);
    let parts: Vec<&str> = good.split('.').collect();
    let [header, body, signature] = parts[..] else { unreachable!() };
    for (why, token, rule) in [
        ("empty", String::new(), "parts"),
        ("a dot", ".".to_owned(), "parts"),
        ("two dots", "..".to_owned(), "parts"),
        ("no header", format!(".{body}.{signature}"), "parts"),
        ("no claims", format!("{header}..{signature}"), "parts"),
        ("no signature", format!("{header}.{body}."), "parts"),
        ("two parts", format!("{header}.{body}"), "parts"),
        ("four parts", format!("{good}.{signature}"), "parts"),
        ("a dot after", format!("{good}."), "parts"),
        ("five parts", format!("{good}.x.y"), "encrypted"),
        ("six parts", format!("{good}.x.y.z"), "parts"),
        ("padding", format!("{good}="), "base64"),
        ("padding twice", format!("{good}=="), "base64"),
        ("a blank before", format!(" {good}"), "base64"),
        ("a blank after", format!("{good} "), "base64"),
        ("a line end", format!("{good}\n"), "base64"),
        ("a NUL", format!("{good}\0"), "base64"),
        ("a comma", format!("{good},{good}"), "encrypted"),
        ("Bearer twice", format!("Bearer {good}"), "base64"),
        ("quotes", format!("\"{good}\""), "base64"),
        ("padded header", format!("{header}==.{body}.{signature}"), "base64"),
        ("one char", format!("{header}.{body}.A"), "base64"),
        ("percent", good.replacen('.', "%2E", 1), "parts"),
        ("long header", format!("{}.{body}.{signature}", encode("x".repeat(769))), "too_long"),
        ("long token", format!("{good}{}", "A".repeat(8_192)), "too_long"),
        ("JSON serialisation", format!(r#"{{"payload":"{body}"}}"#), "parts"),
    ] {
        forger.raw(why, token, rule);
    }
    // The other alphabet, and bits left over, signed as they stand.
    let standard = format!("{header}.{}", encode(claims("\"a\":\"???>>>~~~\",")))
        .replace('_', "/")
        .replace('-', "+");
    assert!(standard.contains('/'));
    let token = forger.issuer.compact(forger.with, &standard);
    forger.raw("standard base64", token, "base64");
    for more in ["", " ", "  "] {
        let padded = encode(format!("{}{more}", claims("")));
        let last = padded.as_bytes()[padded.len() - 1];
        if padded.len() % 4 != 0 {
            let next = if last == b'z' { b'0' } else { last + 1 };
            let mut loose = padded.into_bytes();
            loose.pop();
            loose.push(next);
            let signed = format!("{header}.{}", String::from_utf8(loose).unwrap());
            let token = forger.issuer.compact(forger.with, &signed);
            forger.raw("bits left over", token, "base64");
        }
    }
}

fn signatures(forger: &mut Forger) {
    let (with, header) = (forger.with, forger.with.header());
    let signed = format!("{}.{}", encode(&header), encode(claims("")));
    let right = forger.issuer.signature(with, signed.as_bytes());
    let mut wrong: Vec<Vec<u8>> = vec![
        vec![0],
        vec![0; 64],
        vec![0; 256],
        vec![0xff; 64],
        vec![0xff; 256],
        right[..right.len() - 1].to_vec(),
        right[1..].to_vec(),
        [&right[..], &[0]].concat(),
        [&[0], &right[..]].concat(),
        [&right[..], &right[..]].concat(),
        right.iter().rev().copied().collect(),
    ];
    for bit in [0, 7, 8 * 31 + 3, 8 * 32, 8 * 63 + 7] {
        let mut flipped = right.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        wrong.push(flipped);
    }
    for signature in wrong {
        let token = format!("{signed}.{}", encode(signature));
        forger.raw("another signature", token, "signature");
    }
    // ECDSA in DER, as X.509 has it; r or s of zero.
    let der = [&[0x30, 0x44, 2, 32], &right[..32], &[2, 32], &right[32..64]].concat();
    forger.raw("DER", format!("{signed}.{}", encode(der)), "signature");
    for zeros in [0..32, 32..64] {
        let mut half = right.clone();
        half[zeros].fill(0);
        forger.raw("half is zero", format!("{signed}.{}", encode(half)), "signature");
    }
    // A right signature of other bytes.
    for (why, other) in [
        ("of other claims", format!("{}.{}", encode(&header), encode(claims(" ")))),
        (
            "of another header",
            format!("{}.{}", encode(header.replace("at+", "")), encode(claims(""))),
        ),
        ("of the JSON", format!("{header}.{}", claims(""))),
        ("of the claims", encode(claims(""))),
        ("with another dot", format!("{signed}.")),
    ] {
        let signature = forger.issuer.signature(with, other.as_bytes());
        forger.raw(why, format!("{signed}.{}", encode(signature)), "signature");
    }
    let raised = format!("{}.{}", encode(&header), encode(claims("").replace("staff", "admin")));
    forger.raw("raised groups", format!("{raised}.{}", encode(&right)), "signature");
}
