//! A real browser without a window, driven by WebDriver.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use serde_json::{Value, json};

/// Longest time that a page may take to show something.
const LIMIT: Duration = Duration::from_secs(30);

/// A browser with one tab.
pub(crate) struct Browser {
    driver: Child,
    client: reqwest::Client,
    /// The URL of the session.
    session: String,
    /// The URL of the pages.
    pages: String,
}

/// How a page is looked at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look {
    pub(crate) name: &'static str,
    width: u32,
    height: u32,
    scheme: &'static str,
}

/// A desktop in daylight.
pub(crate) const WIDE: Look = Look { name: "wide-light", width: 1360, height: 900, scheme: "light" };
/// All looks: every page is usable in each of them.
pub(crate) const LOOKS: [Look; 4] = [
    WIDE,
    Look { name: "wide-dark", scheme: "dark", ..WIDE },
    Look { name: "narrow-light", width: 420, ..WIDE },
    Look { name: "narrow-dark", width: 420, scheme: "dark", ..WIDE },
];

/// The keys that have no character.
pub(crate) const TAB: &str = "\u{e004}";
pub(crate) const ENTER: &str = "\u{e007}";

impl Browser {
    /// Starts one that opens the pages of the agent at `http`. Where this machine has no browser, it says so in one line
    /// and there is none; in CI, which installs one, that is a failure.
    pub(crate) async fn start(http: &str) -> Option<Self> {
        let spawned = Command::new("chromedriver").arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut driver = match spawned {
            Ok(driver) => driver,
            Err(error) => {
                assert!(std::env::var_os("CI").is_none(), "chromedriver cannot be started: {error}");
                // Not by a macro, whose output is kept back for a test that passes.
                let line =
                    "SKIPPED: the pages are not opened, as there is no browser: apt-get install chromium-driver\n";
                std::io::stderr().write_all(line.as_bytes()).expect("standard error is open");
                return None;
            }
        };
        let mut lines = BufReader::new(driver.stdout.take().expect("it is piped")).lines().map_while(Result::ok);
        let port = lines.find_map(|line| {
            let port = line.split_once("successfully on port ")?.1.trim_end_matches('.').to_owned();
            Some(port)
        });
        let port = port.expect("chromedriver tells its port");
        std::thread::spawn(move || lines.count());
        let client = reqwest::Client::builder().timeout(LIMIT * 2).build().expect("no special settings");
        let driver_url = format!("http://127.0.0.1:{port}");
        // As root, which CI may be, there is no sandbox; only pages of this test are opened.
        let arguments =
            ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"];
        let capabilities = json!({
            "browserName": "chrome",
            "goog:loggingPrefs": { "browser": "ALL" },
            "goog:chromeOptions": { "args": arguments },
            "timeouts": { "script": LIMIT.as_millis() as u64 },
        });
        let mut browser = Self { driver, client, session: driver_url, pages: format!("http://{http}/ui/") };
        let asked = json!({ "capabilities": { "alwaysMatch": capabilities } });
        let answer = browser.post("/session", asked).await;
        browser.session += &format!("/session/{}", answer["sessionId"].as_str().expect("a session"));
        browser.look(WIDE).await;
        Some(browser)
    }

    async fn post(&self, command: &str, body: Value) -> Value {
        let response = self.client.post(format!("{}{command}", self.session)).json(&body).send().await;
        answer(command, response.expect("chromedriver answers")).await
    }

    async fn get(&self, command: &str) -> Value {
        let response = self.client.get(format!("{}{command}", self.session)).send().await;
        answer(command, response.expect("chromedriver answers")).await
    }

    async fn devtools(&self, command: &str, parameters: Value) {
        self.post("/goog/cdp/execute", json!({ "cmd": command, "params": parameters })).await;
    }

    /// Looks at pages this way from now on.
    pub(crate) async fn look(&self, look: Look) {
        let size = json!({ "width": look.width, "height": look.height, "deviceScaleFactor": 1, "mobile": false });
        self.devtools("Emulation.setDeviceMetricsOverride", size).await;
        let features = json!([{ "name": "prefers-color-scheme", "value": look.scheme }]);
        self.devtools("Emulation.setEmulatedMedia", json!({ "features": features })).await;
    }

    /// Opens a page anew, such as `#/proxies`.
    pub(crate) async fn open(&self, page: &str) {
        // Another fragment alone would load nothing.
        self.post("/url", json!({ "url": "about:blank" })).await;
        self.post("/url", json!({ "url": format!("{}{page}", self.pages) })).await;
    }

    /// What a script returns.
    pub(crate) async fn run(&self, script: &str) -> Value {
        self.post("/execute/sync", json!({ "script": script, "args": [] })).await
    }

    /// Waits until an expression is true in the page.
    pub(crate) async fn until(&self, expression: &str) {
        let script = format!(
            "const done = arguments[0]; const end = Date.now() + {};
             (function look() {{
               if ({expression}) done(true);
               else if (Date.now() > end) done(document.querySelector('main')?.innerText ?? 'no page');
               else setTimeout(look, 20);
             }})();",
            LIMIT.as_millis() - 1000
        );
        let found = self.post("/execute/async", json!({ "script": script, "args": [] })).await;
        assert_eq!(found, true, "{expression} does not come; the page says:\n{}", found.as_str().unwrap_or_default());
    }

    /// Waits until what is in the first element says this somewhere.
    pub(crate) async fn shows(&self, selector: &str, text: &str) {
        let (selector, text) = (json!(selector), json!(text));
        self.until(&format!("document.querySelector({selector})?.textContent.includes({text})")).await;
    }

    /// The texts of all elements.
    pub(crate) async fn texts(&self, selector: &str) -> Vec<String> {
        let script = format!("return [...document.querySelectorAll({})].map((it) => it.textContent)", json!(selector));
        serde_json::from_value(self.run(&script).await).expect("texts")
    }

    /// Types on the keyboard, into whatever has the focus.
    pub(crate) async fn keys(&self, text: &str) {
        let events =
            text.chars().flat_map(|key| ["keyDown", "keyUp"].map(|kind| json!({ "type": kind, "value": key })));
        let events: Vec<_> = events.collect();
        let keyboard = json!({ "type": "key", "id": "keyboard", "actions": events });
        self.post("/actions", json!({ "actions": [keyboard] })).await;
    }

    /// The text or label of what has the focus.
    pub(crate) async fn focus(&self) -> String {
        let script = "const it = document.activeElement; return it.getAttribute('aria-label') ?? (it.textContent.trim() || it.placeholder || it.id);";
        self.run(script).await.as_str().unwrap_or_default().to_owned()
    }

    /// Looks at the page in every way, keeps pictures of it, and checks that nothing is wider than the window.
    pub(crate) async fn picture(&self, name: &str) {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("ui");
        std::fs::create_dir_all(&folder).expect("a folder for pictures");
        for look in LOOKS {
            self.look(look).await;
            // Twice, as the first frame may have been begun before.
            self.post("/execute/async", json!({ "script": "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(done));", "args": [] })).await;
            let picture = self.get("/screenshot").await;
            let picture = base64::engine::general_purpose::STANDARD.decode(picture.as_str().expect("a picture"));
            std::fs::write(folder.join(format!("{name}-{}.png", look.name)), picture.expect("base64")).expect("a file");
            let spare = self.run("return innerWidth - document.documentElement.scrollWidth").await;
            assert!(spare.as_i64() >= Some(0), "{name}, {}: the page is wider than the window", look.name);
        }
        self.look(WIDE).await;
    }

    /// The texts that are harder to read against what is behind them than WCAG 2 allows (AA), in both colour schemes.
    pub(crate) async fn faint_texts(&self) -> Vec<String> {
        let mut found = Vec::new();
        for look in [LOOKS[0], LOOKS[1]] {
            self.look(look).await;
            let faint = self.run(include_str!("contrast.js")).await;
            let faint: Vec<String> = serde_json::from_value(faint).expect("texts");
            found.extend(faint.into_iter().map(|text| format!("{}: {text}", look.name)));
        }
        self.look(WIDE).await;
        found
    }

    /// Ends it, and fails if the pages complained about anything: errors of scripts, refused by the policy, failed calls.
    pub(crate) async fn close(self) {
        let log = self.post("/se/log", json!({ "type": "browser" })).await;
        let complaints = log.as_array().expect("a list").iter().filter(|line| line["level"] != "INFO");
        let complaints: Vec<_> = complaints.map(|line| line["message"].clone()).collect();
        assert!(complaints.is_empty(), "the console says {complaints:?}");
    }
}

async fn answer(command: &str, response: reqwest::Response) -> Value {
    let mut body: Value = response.json().await.expect("JSON");
    assert!(body["value"].get("error").is_none(), "{command}: {}", body["value"]);
    body["value"].take()
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The browser ends with its session, and would outlive a driver that is killed. Without a browser, nothing is lost.
        let url = self.session.trim_start_matches("http://");
        if let Some((host, path)) = url.split_once('/')
            && let Ok(mut stream) = TcpStream::connect(host)
        {
            let request = format!("DELETE /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
            let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
            // The answer begins once the browser has ended; the driver keeps the connection open.
            let _ = stream.write_all(request.as_bytes()).and_then(|()| stream.read(&mut [0]));
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
