//! The lines on a terminal, until `q`. A thread asks the node once a second; the terminal is restored however this ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use anyhow::Context;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Style};
use ratatui::text::Line;
use ratatui::widgets::Paragraph;
use ratatui::{DefaultTerminal, Frame};
use tradeflow_api::status::Status;

use super::{Node, page};

/// How often the node is asked.
const EVERY: Duration = Duration::from_secs(1);
/// How long a key, an answer or a signal waits at most.
const GLANCE: Duration = Duration::from_millis(50);

/// What was last heard, and what was shown before.
struct Screen {
    node: Node,
    last: Option<(Status, Instant)>,
    before: Option<(Status, Instant)>,
    trouble: Option<String>,
    scroll: usize,
    /// Lines of the page, and how many of them there is room for.
    lines: usize,
    room: usize,
}

/// Shows the node until the user has seen enough.
pub fn run(node: Node) -> anyhow::Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    ctrlc::set_handler(move || stopped.store(true, Ordering::Relaxed)).context("signals")?;
    let (sender, answers) = sync_channel(1);
    let asked = node.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ask = move || runtime.block_on(ask(&asked, &sender));
    std::thread::Builder::new().name("ask".into()).spawn(ask)?;
    let mut terminal = ratatui::try_init().context("the terminal")?;
    let screen = Screen { node, last: None, before: None, trouble: None, scroll: 0, lines: 0, room: 0 };
    let done = screen.run(&mut terminal, &answers, &stop);
    ratatui::restore();
    done
}

/// Asks once a second until nobody listens.
async fn ask(node: &Node, answers: &SyncSender<anyhow::Result<Status>>) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(TrySendError::Disconnected(_)) = answers.try_send(node.status().await) {
            return;
        }
    }
}

impl Screen {
    /// Room for what is wrong with the connection.
    const TROUBLE_LINES: usize = 4;

    fn run(
        mut self,
        terminal: &mut DefaultTerminal,
        answers: &Receiver<anyhow::Result<Status>>,
        stop: &AtomicBool,
    ) -> anyhow::Result<()> {
        let mut drawn: Option<Instant> = None;
        while !stop.load(Ordering::Relaxed) {
            let mut changed = false;
            for answer in answers.try_iter() {
                self.take(answer);
                changed = true;
            }
            // Without news too: how long the node has been silent goes on.
            if changed || drawn.is_none_or(|at| at.elapsed() >= EVERY) {
                terminal.draw(|frame| self.draw(frame))?;
                drawn = Some(Instant::now());
            }
            if !event::poll(GLANCE)? {
                continue;
            }
            match event::read()? {
                Event::Key(key) if key.kind != KeyEventKind::Release && self.key(key) => return Ok(()),
                Event::Key(_) | Event::Resize(..) => drawn = None,
                _ => {}
            }
        }
        Ok(())
    }

    fn take(&mut self, answer: anyhow::Result<Status>) {
        match answer {
            Ok(status) => {
                self.before = self.last.replace((status, Instant::now()));
                self.trouble = None;
            }
            Err(error) => self.trouble = Some(format!("{error:#}")),
        }
    }

    /// Takes a key; whether it is the last.
    fn key(&mut self, key: KeyEvent) -> bool {
        let page = self.room.saturating_sub(1).max(1);
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc => return true,
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return true,
            KeyCode::Up | KeyCode::Char('k') => self.scroll = self.scroll.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => self.scroll += 1,
            KeyCode::PageUp => self.scroll = self.scroll.saturating_sub(page),
            KeyCode::PageDown | KeyCode::Char(' ') => self.scroll += page,
            KeyCode::Home => self.scroll = 0,
            KeyCode::End => self.scroll = usize::MAX,
            _ => {}
        }
        self.scroll = self.scroll.min(self.lines.saturating_sub(self.room));
        false
    }

    fn draw(&mut self, frame: &mut Frame<'_>) {
        let width = usize::from(frame.area().width);
        let lines = self.page(width);
        let style = Style::new().fg(Color::Red);
        let mut trouble = page::wrap(&self.trouble().unwrap_or_default(), width);
        trouble.truncate(Self::TROUBLE_LINES);
        let above = Constraint::Length(trouble.len() as u16);
        let areas = [above, Constraint::Min(0), Constraint::Length(1)];
        let [top, middle, bottom] = Layout::vertical(areas).areas(frame.area());
        let trouble: Vec<_> = trouble.into_iter().map(|text| Line::styled(text, style)).collect();
        frame.render_widget(Paragraph::new(trouble), top);
        (self.lines, self.room) = (lines.len(), usize::from(middle.height));
        self.scroll = self.scroll.min(self.lines.saturating_sub(self.room));
        let seen: Vec<_> = lines.into_iter().skip(self.scroll).take(self.room).collect();
        let below = self.lines - self.scroll - seen.len();
        frame.render_widget(Paragraph::new(seen), middle);
        let more = if below > 0 { format!("  {below} more lines below") } else { String::new() };
        let help = format!("q quits  ↑↓ PgUp PgDn scroll{more}");
        frame.render_widget(Line::styled(help, Style::new().fg(Color::DarkGray)), bottom);
    }

    fn page(&self, width: usize) -> Vec<Line<'static>> {
        let Some((status, at)) = &self.last else {
            return vec![Line::raw(format!("asking {} …", self.node.base))];
        };
        let before = self.before.as_ref().map(|(before, then)| (before, at.duration_since(*then)));
        page::lines(status, before, width)
    }

    /// Why there is no news, and how old what is shown is.
    fn trouble(&self) -> Option<String> {
        let trouble = self.trouble.as_ref()?;
        let shown = self.last.as_ref().map(|(_, at)| {
            let ms = i64::try_from(at.elapsed().as_millis()).unwrap_or(i64::MAX);
            format!("as of {} ago; ", page::age(ms))
        });
        Some(format!("{}trying again: {trouble}", shown.unwrap_or_default()))
    }
}
