//! Promise: AWS clients work with placeholder keys; what leaves is signed with the real ones.
//!
//! The origin lets botocore's own signing code check every request as the service would: signature, body
//! hash, trailing checksum, session token. No client sees a key.

#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

mod support;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::sync::Mutex;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use support::{Broker, Origin, Received, SECRET, Site, TempDir, bare, need, need_python, source};

const ACCESS_KEY: &str = "AKIAREALREALREALREAL";
const SESSION_TOKEN: &str = "IQoJb3JpZ2luX2VjEReal+session/token==";
/// Spaces, signs and letters that every encoding treats in its own way.
const BODY: &str = "{\"note\": \"Größe + 1 & 2\"}\n";
/// The name of the site; every service has it as its endpoint.
const AWS: &str = "aws.example.test";

#[test]
fn boto3() {
    let Some(python) = need_python("boto3", "boto3") else { return };
    for session in [Session::Never, Session::Ours, Session::Theirs] {
        let (said, requests) = client(&python, session, &python, "with_boto3.py");
        // What is sent by default today; should that change, a test of it would be lost unnoticed.
        let payloads = requests.iter().map(|request| request.field("x-amz-content-sha256"));
        let streamed = payloads.filter(|payload| *payload == Some("STREAMING-UNSIGNED-PAYLOAD-TRAILER"));
        assert_eq!(streamed.count(), 2, "{requests:?}");
        assert!(said.starts_with(&format!("{BODY}1\nstored\n123456789012\nf\n")), "{session:?}: {said}");
    }
}

#[test]
fn aws_cli() {
    let Some(_) = need("aws_cli", "aws", "pip install awscli") else { return };
    let Some(python) = need_python("aws_cli", "botocore") else { return };
    let (said, requests) = client(&python, Session::Both, Path::new("sh"), "with_awscli.sh");
    assert!(said.starts_with(&format!("{BODY}1\n123456789012\n")), "{said}");
    let parts = requests.iter().filter(|request| request.target.contains("partNumber="));
    assert_eq!(parts.count(), 2, "9 MB go in two parts");
}

/// Whose keys come with a session token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Session {
    Never,
    Ours,
    Theirs,
    Both,
}

/// Runs a client with placeholder keys; all its requests are signed with the real ones. Returns what it
/// said and what arrived.
#[track_caller]
fn client(python: &Path, session: Session, program: &Path, script: &str) -> (String, Vec<Received>) {
    let has_token = matches!(session, Session::Ours | Session::Both);
    let mut auth = json!({"type": "aws-sigv4", "access_key": "AWS_KEY_ID", "secret_key": "API_KEY"});
    if has_token {
        auth["session_token"] = "AWS_TOKEN".into();
    }
    let verifier = Verifier::start(python, has_token.then_some(SESSION_TOKEN));
    let origin = Origin::tls(&[AWS]).answering(move |request| answer(request, &verifier));
    let broker = Broker::start(&origin, &[AWS])
        .with_credential("API_KEY", SECRET)
        .with_credential("AWS_KEY_ID", ACCESS_KEY)
        .with_credential("AWS_TOKEN", SESSION_TOKEN)
        .with_services(&json!([{"name": "aws", "host": AWS, "auth": auth}]));
    let mut site = Site::over(origin, broker);
    let mut command = site.command();
    command
        .env("AWS_ENDPOINT_URL", site.origin.url(AWS, ""))
        .env("AWS_DEFAULT_REGION", "eu-west-1")
        .env("AWS_ACCESS_KEY_ID", "AKIAPLACEHOLDER")
        .env("AWS_SECRET_ACCESS_KEY", "placeholder")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("AWS_MAX_ATTEMPTS", "1");
    if matches!(session, Session::Theirs | Session::Both) {
        command.env("AWS_SESSION_TOKEN", "placeholder");
    }
    let ended = site.observe(command.arg(program).arg(source(script)).arg(BODY));
    for real in [ACCESS_KEY, SESSION_TOKEN] {
        assert!(!ended.stdout.contains(real) && !ended.stderr.contains(real), "{real} is visible");
    }
    site.expect_no_traces();
    (ended.stdout, site.origin.requests())
}

/// A program that checks requests with botocore.
struct Verifier {
    child: Child,
    pipes: Mutex<(ChildStdin, BufReader<ChildStdout>)>,
    _home: TempDir,
}

impl Verifier {
    fn start(python: &Path, session_token: Option<&str>) -> Self {
        let home = TempDir::new();
        let mut command = bare(python, home.path());
        command.args([&source("verify_sigv4.py"), ACCESS_KEY, SECRET]).args(session_token);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python starts");
        let stdin = child.stdin.take().expect("stdin is piped");
        let stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        Self { child, pipes: Mutex::new((stdin, stdout)), _home: home }
    }

    /// The service a request was signed for, or what is wrong with it.
    fn verify(&self, request: &Received) -> Result<String, String> {
        let host = request.field("host").unwrap_or_default();
        let question = json!({
            "method": request.method,
            "url": format!("https://{host}{}", request.target),
            "fields": request.fields,
            "body": STANDARD.encode(&request.body),
        });
        let (stdin, stdout) = &mut *self.pipes.lock().unwrap();
        writeln!(stdin, "{question}").expect("the verifier reads");
        let mut verdict = String::new();
        stdout.read_line(&mut verdict).expect("the verifier answers");
        verdict.trim_end().strip_prefix("ok ").map(str::to_owned).ok_or(verdict)
    }
}

impl Drop for Verifier {
    fn drop(&mut self) {
        self.child.kill().expect("a child of ours can be killed");
        self.child.wait().expect("a killed child ends");
    }
}

/// The least a client of each service takes for an answer; a request with a bad signature gets the reason.
fn answer(request: &Received, verifier: &Verifier) -> Vec<u8> {
    let service = match verifier.verify(request) {
        Ok(service) => service,
        Err(why) => {
            let why = why.replace(['<', '&'], "?");
            let error = format!("<Error><Code>SignatureDoesNotMatch</Code><Message>{why}</Message></Error>");
            return response("403 Forbidden", "application/xml", &error);
        }
    };
    match (service.as_str(), request.method.as_str()) {
        ("s3", "GET") if request.target.contains("list-type=2") => {
            let listing = "<ListBucketResult><Name>shop</Name><KeyCount>1</KeyCount></ListBucketResult>";
            response("200 OK", "application/xml", listing)
        }
        ("s3", "GET") => response("200 OK", "text/plain", BODY),
        ("s3", "POST") => {
            // One document for the beginning of an upload in parts and for its end.
            let upload = "<UploadResult><Bucket>shop</Bucket><UploadId>u</UploadId></UploadResult>";
            response("200 OK", "application/xml", upload)
        }
        ("s3", "HEAD") => format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", BODY.len()).into_bytes(),
        ("s3", "DELETE") => b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
        ("s3", _) => response("200 OK", "application/xml", ""),
        ("dynamodb", _) => response("200 OK", "application/x-amz-json-1.0", "{}"),
        ("lambda", _) => {
            response("200 OK", "application/json", "{\"Configuration\": {\"FunctionName\": \"f\"}}")
        }
        _ => {
            let identity = "<GetCallerIdentityResponse><GetCallerIdentityResult><Account>123456789012</Account>\
                            </GetCallerIdentityResult></GetCallerIdentityResponse>";
            response("200 OK", "text/xml", identity)
        }
    }
}

fn response(status: &str, content_type: &str, body: &str) -> Vec<u8> {
    let fields = format!("Content-Type: {content_type}\r\nETag: \"e\"\r\nContent-Length: {}", body.len());
    format!("HTTP/1.1 {status}\r\n{fields}\r\n\r\n{body}").into_bytes()
}
