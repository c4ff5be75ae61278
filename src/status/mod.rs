//! `tradeflow status`: what a node does, in the terminal.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | the command; asking the node |
//! | `page.rs` | a status as lines of text: the same for both |
//! | `live.rs` | the lines on a terminal, until `q` |

mod live;
mod page;

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use reqwest::{Client, Url};
use tradeflow_api::status::Status;

/// Shows what a node does: feeds, quotes, accounts, positions, strategies.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The node: the address that it listens on
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080", value_parser = node_url)]
    url: Url,
    /// An API key, which a node asks for that is not on this machine; better given by the variable TRADEFLOW_API_KEY
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// Print it once and end, as also where the output is no terminal
    #[arg(long)]
    once: bool,
    /// Print the node's JSON once and end
    #[arg(long)]
    json: bool,
}

fn node_url(text: &str) -> Result<Url, String> {
    let url =
        Url::parse(text).map_err(|error| format!("{error}; an address is such as http://127.0.0.1:8080"))?;
    match url.scheme() {
        "http" | "https" => Ok(url),
        other => Err(format!("{other}:// is not HTTP; an address is such as http://127.0.0.1:8080")),
    }
}

/// Runs the command.
///
/// # Errors
/// When it is to be printed once and no node answers, or the terminal can't be used.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let node = Node::new(&args.url, args.key.clone())?;
    if !args.once && !args.json && std::io::stdout().is_terminal() {
        live::run(node)?;
        return Ok(ExitCode::SUCCESS);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let text = runtime.block_on(node.text())?;
    let status = node.read(&text)?;
    if args.json {
        println!("{}", text.trim_end());
        return Ok(ExitCode::SUCCESS);
    }
    for line in page::lines(&status, None, usize::MAX) {
        println!("{}", line.to_string().trim_end());
    }
    Ok(ExitCode::SUCCESS)
}

/// A node that is asked.
#[derive(Debug, Clone)]
struct Node {
    client: Client,
    /// As the user gave it.
    base: Url,
    url: Url,
    key: Option<String>,
}

impl Node {
    const PATIENCE: Duration = Duration::from_secs(5);
    /// A status is a few kilobytes, with thousands of instruments a megabyte or two.
    const ANSWER_MAX: usize = 64 << 20;

    fn new(base: &Url, key: Option<String>) -> anyhow::Result<Self> {
        // A node is on this machine or on this network.
        let client = Client::builder().no_proxy().timeout(Self::PATIENCE).build()?;
        let mut url = base.clone();
        url.set_path(&format!("{}/api/v1/status", base.path().trim_end_matches('/')));
        let key = key.or_else(|| std::env::var("TRADEFLOW_API_KEY").ok()).filter(|key| !key.is_empty());
        Ok(Self { client, base: base.clone(), url, key })
    }

    /// The node's answer.
    async fn text(&self) -> anyhow::Result<String> {
        let base = self.base.as_str().trim_end_matches('/');
        let mut request = self.client.get(self.url.clone());
        if let Some(key) = &self.key {
            request = request.bearer_auth(key);
        }
        let mut answer = request.send().await.map_err(|error| {
            let why = match error.is_timeout() {
                true => format!("no answer within {} s", Self::PATIENCE.as_secs()),
                false => root(&error),
            };
            anyhow!(
                "no node at {base} ({why}): start one with `tradeflow serve`, or name its address with --url"
            )
        })?;
        let mut bytes = Vec::new();
        loop {
            let piece = answer.chunk().await.map_err(reqwest::Error::without_url);
            let Some(piece) = piece.with_context(|| self.answer())? else { break };
            bytes.extend_from_slice(&piece);
            if bytes.len() > Self::ANSWER_MAX {
                bail!("{}: more than {} MB", self.answer(), Self::ANSWER_MAX >> 20);
            }
        }
        if matches!(answer.status().as_u16(), 401 | 403) {
            bail!(
                "{}: the node wants an API key with the scope read: --key, or TRADEFLOW_API_KEY",
                self.answer()
            );
        }
        if !answer.status().is_success() {
            bail!("{}: HTTP {}; is it a node of TradeFlow?", self.answer(), answer.status().as_u16());
        }
        String::from_utf8(bytes).with_context(|| self.answer())
    }

    fn read(&self, text: &str) -> anyhow::Result<Status> {
        serde_json::from_str(text).with_context(|| format!("{}: not the status of a node", self.answer()))
    }

    async fn status(&self) -> anyhow::Result<Status> {
        self.read(&self.text().await?)
    }

    fn answer(&self) -> String {
        format!("the answer of {}", self.url)
    }
}

/// The cause at the bottom: "Connection refused (os error 111)".
fn root(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), root)
}
