//! Two containers with one network, as in a pod or a task: the relay of the one is closed to the other.

use crate::shell::{Contained, Shell};

/// Asks the proxy at a URL for a host that no service names.
fn asking(proxy: &str) -> String {
    format!("http_proxy={proxy} wget -O - http://other.example.test/ 2>&1 || :")
}

#[test]
fn a_stranger_in_the_same_network_is_refused() {
    const REFUSED: &str = "HTTP/1.1 407 ";
    const BY_THE_RULES: &str = "HTTP/1.1 403 Forbidden";
    let Some(shell) = Shell::new("a_stranger_in_the_same_network_is_refused") else { return };
    let own = asking("http://127.0.0.1:${HTTPS_PROXY##*:}");
    let script = format!("echo proxy $HTTPS_PROXY; {own}; echo ready; exec sleep 600");
    let words = ["run", "--", "sh", "-c", &script];
    let mut app = Contained::start(&shell, &["--read-only", "--cap-drop=all"], &words);
    let proxy = app.running.line_after("proxy http://");
    app.running.line_after("ready");
    assert!(app.running.output().contains(BY_THE_RULES), "{}", app.running.output());

    let (_, address) = proxy.split_once('@').expect("a credential");
    // A neighbour of another user, of the same one, and one that sees the app's processes as well.
    for options in [&["--user=65532"][..], &[], &["--pid=container:app"]] {
        let told = |proxy: &str| app.neighbour(options, &["sh", "-c", &asking(proxy)]).stdout;
        let refused = told(&format!("http://{address}"));
        assert!(refused.contains(REFUSED), "{options:?}: {refused}");
        // With the credential anybody is as good as the app.
        let let_in = told(&format!("http://{proxy}"));
        assert!(let_in.contains(BY_THE_RULES), "{options:?}: {let_in}");
    }
    // What a runtime starts beside the app is no process of the run either.
    let beside = app.exec(&["sh", "-c", &asking(&format!("http://{address}"))]).stdout;
    assert!(beside.contains(REFUSED), "{beside}");
    app.exec(&["agent-vault", "health"]);
    app.ask(&["stop", "--time", "60"]);
    assert_eq!(app.running.wait().code(), Some(143), "{}", app.running.output());
}
