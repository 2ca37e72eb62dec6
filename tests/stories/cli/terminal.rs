//! Programs on a terminal.

use std::collections::BTreeMap;

use anyhow::Result;
use berth_testkit::{Image, Layer, Registry, Session};
use serde_json::json;

use crate::shell::{interrupts, sees_size};
use crate::stage::Stage;

#[test]
fn run_follows_the_terminals_size_and_passes_on_what_is_typed() -> Result<()> {
    let stage = Stage::pulled()?;
    let run = stage.node.berth(&format!("run --rm -it --name term-run {} sh", stage.image));
    let mut shell = Session::on_terminal(run, 33, 99)?;
    shell.write("tty\n")?;
    shell.expect("/dev/pts/0")?;
    sees_size(&mut shell, "33 99")?;
    shell.resize(41, 121)?;
    sees_size(&mut shell, "41 121")?;
    interrupts(&mut shell)?;
    shell.write("exit 7\n")?;
    assert_eq!(shell.end()?, 7, "{}", shell.printed());
    assert_eq!(stage.berth("ps -a -q")?, "");
    Ok(())
}

#[test]
fn exec_follows_the_terminals_size() -> Result<()> {
    let stage = Stage::pulled()?;
    stage.run("-d --name term-exec", "sleep 600").output()?.ok()?;
    let exec = stage.node.berth("exec -it term-exec sh");
    let mut shell = Session::on_terminal(exec, 20, 70)?;
    sees_size(&mut shell, "20 70")?;
    shell.resize(21, 71)?;
    sees_size(&mut shell, "21 71")?;
    shell.write("exit 8\n")?;
    assert_eq!(shell.end()?, 8, "{}", shell.printed());
    // Without input too.
    let tty = stage.node.berth("exec -t term-exec tty").output()?;
    assert_eq!(tty.ok()?.trim(), "/dev/pts/0");
    stage.berth("rm -f term-exec")?;
    Ok(())
}

/// What the last bar of each layer on a terminal says: `word`, `done` and `all`, by the layer's
/// first digits.
fn bars(printed: &str) -> BTreeMap<String, (String, String, String)> {
    let mut bars = BTreeMap::new();
    // Bars are drawn again and again, one right behind another.
    for bar in without_codes(printed).split("layer ").skip(1) {
        let (before, after) = bar.split_once('[').expect("a bar begins");
        let (_, sizes) = after.split_once(']').expect("a bar ends");
        let (layer, word) = before.split_once(' ').expect("a layer and a word");
        let (done, rest) = sizes.split_once('/').expect("two sizes");
        let all: String = rest.chars().take(10).collect();
        let [word, done, all] = [word, done, &all].map(|text| text.trim().to_owned());
        bars.insert(layer.to_owned(), (word, done, all));
    }
    bars
}

/// What is printed without the codes for colours and movements, `ESC [ … LETTER`.
fn without_codes(printed: &str) -> String {
    let mut parts = printed.split("\u{1b}[");
    let first = parts.next().unwrap_or_default().to_owned();
    let after = |part: &str| part.trim_start_matches(|c: char| !c.is_alphabetic())[1..].to_owned();
    parts.map(after).fold(first, |text, part| text + &part)
}

/// A layer's size as a bar has it.
fn shown(bytes: usize) -> String {
    let kib = bytes as f64 / 1024.0;
    if kib < 1024.0 { format!("{kib:.2} KiB") } else { format!("{:.2} MiB", kib / 1024.0) }
}

#[test]
fn each_layer_has_a_bar_that_ends_full() -> Result<()> {
    let stage = Stage::new()?;
    let layers = vec![Layer::noise("small", 300 << 10, 1)?, Layer::noise("large", 5 << 20, 2)?];
    let made = Image::build(layers, json!({}))?;
    let image = made.push(&stage.registry, "two:1")?;
    let mut expected: Vec<_> = made.layer_sizes.iter().map(|bytes| shown(*bytes)).collect();
    expected.sort();

    let watch = |line: &str, word: &str| -> Result<()> {
        let mut transfer = Session::on_terminal(stage.node.berth(line), 30, 100)?;
        assert_eq!(transfer.end()?, 0, "{}", transfer.printed());
        let printed = transfer.printed();
        let bars = bars(&printed);
        assert!(bars.values().all(|(said, done, all)| said == word && done == all), "{bars:?}");
        let mut sizes: Vec<_> = bars.values().map(|(_, _, all)| all.clone()).collect();
        sizes.sort();
        assert_eq!(sizes, expected, "{printed}");
        Ok(())
    };
    watch(&format!("pull {image}"), "extracted")?;
    let elsewhere = Registry::start()?;
    let copy = elsewhere.reference("copy:1");
    watch(&format!("push {image} {copy}"), "complete")?;
    // What is there has nothing to be sent, and is whole nevertheless.
    watch(&format!("push {image} {copy}"), "already exists")?;
    Ok(())
}
