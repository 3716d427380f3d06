//! The pieces of connections as a tree for people, as one value, or a line each. Must never print what could move a
//! cursor: fields come escaped.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::dissect::{About, Fields, Frame, Item, Side};
use crate::screen;

/// The columns before the fields of a piece.
const INDENT: usize = 52;

/// A connection that was taken apart.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) number: usize,
    /// Where the two ends are, where the capture tells.
    pub(super) ends: Option<[String; 2]>,
    pub(super) about: About,
    /// How the client's direction and the server's ended.
    pub(super) closed: [&'static str; 2],
    /// The pieces, each with the nanoseconds since the first.
    pub(super) items: Vec<(Option<u64>, Item)>,
}

impl Shown {
    fn head(&self) -> Vec<(&'static str, Value)> {
        let mut head = vec![("connection", json!(self.number))];
        if let Some([client, server]) = &self.ends {
            head.extend([("client", json!(client)), ("server", json!(server))]);
        }
        head.extend(self.about.pattern.map(|pattern| ("pattern", json!(pattern.name()))));
        head.extend(self.about.suite.map(|suite| ("suite", json!(suite.as_str()))));
        let records = match &self.about {
            about if about.foreign => "of a version that is not known",
            about if about.in_clear => "in clear",
            about if about.opened => "opened by the key log",
            _ => "sealed",
        };
        head.push(("records", json!(records)));
        if self.ends.is_some() {
            let [client, server] = self.closed;
            head.extend([("client_end", json!(client)), ("server_end", json!(server))]);
        }
        head
    }

    /// All of it as one value.
    pub(super) fn value(&self) -> Value {
        let items = self.items.iter().map(|(time, item)| Value::Object(of_item(*time, item))).collect();
        let mut value = object(self.head());
        value.insert("items".to_owned(), Value::Array(items));
        Value::Object(value)
    }

    /// The connection, and each piece, as a value of its own.
    pub(super) fn values(&self) -> impl Iterator<Item = Value> {
        let items = self.items.iter().map(|(time, item)| {
            let mut value = of_item(*time, item);
            value.insert("connection".to_owned(), json!(self.number));
            Value::Object(value)
        });
        std::iter::once(Value::Object(object(self.head()))).chain(items)
    }

    /// The tree.
    pub(super) fn text(&self, width: Option<usize>) -> String {
        let mut text = format!("connection {}", self.number);
        if let Some([client, server]) = &self.ends {
            let _ = write!(text, ": client {client}, server {server}");
        }
        let rest = self.head().into_iter().filter(|(name, _)| !["connection", "client", "server"].contains(name));
        let _ = write!(text, "{}{}", if self.ends.is_some() { ", " } else { ": " }, of_fields(&rest.collect()));
        text = screen::fit(&text, 4, width);
        text.push('\n');
        for (time, item) in &self.items {
            let time = time.map(|nanos| format!("{}.{:06}", nanos / 1_000_000_000, nanos / 1_000 % 1_000_000));
            let arrow = if item.side == Side::Client { "client >" } else { "server <" };
            let what = item.number.map_or_else(|| item.what.to_owned(), |number| format!("{} {number}", item.what));
            let head =
                format!("{:>11} {arrow} {:>9} {what:<12} {:>6} ", time.unwrap_or_default(), item.offset, item.size);
            push(&mut text, &head, &item.fields, width);
            for Frame { name, size, fields } in &item.frames {
                push(&mut text, &format!("{:24}  {name:<17} {size:>6} ", ""), fields, width);
            }
        }
        text
    }
}

fn push(text: &mut String, head: &str, fields: &Fields, width: Option<usize>) {
    let line = format!("{head} {}", of_fields(fields));
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{}", screen::fit(line.trim_end(), INDENT.max(head.chars().count() + 1), width));
}

fn of_fields(fields: &Fields) -> String {
    let words = fields.iter().map(|(name, value)| match value {
        Value::Bool(true) => (*name).to_owned(),
        Value::String(text) => format!("{name} {text}"),
        Value::Array(items) => {
            let items: Vec<&str> = items.iter().filter_map(Value::as_str).collect();
            format!("{name} {}", items.join(" "))
        }
        other => format!("{name} {other}"),
    });
    words.collect::<Vec<_>>().join(", ")
}

fn object(fields: Vec<(&'static str, Value)>) -> Map<String, Value> {
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn of_item(time: Option<u64>, item: &Item) -> Map<String, Value> {
    let mut value = object(item.fields.clone());
    value.insert("side".to_owned(), json!(item.side));
    value.insert("offset".to_owned(), json!(item.offset));
    value.insert("size".to_owned(), json!(item.size));
    value.insert("what".to_owned(), json!(item.what));
    if let Some(number) = item.number {
        value.insert("number".to_owned(), json!(number));
    }
    if let Some(nanos) = time {
        value.insert("time_ns".to_owned(), json!(nanos));
    }
    if !item.frames.is_empty() {
        let frames = item.frames.iter().map(|frame| {
            let mut value = object(frame.fields.clone());
            value.insert("frame".to_owned(), json!(frame.name));
            value.insert("size".to_owned(), json!(frame.size));
            Value::Object(value)
        });
        value.insert("frames".to_owned(), frames.collect());
    }
    value
}
