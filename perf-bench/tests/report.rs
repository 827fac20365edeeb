//! Runs `report` on files of `compare`, as a user does, and on the rows that are committed.

mod run;

use std::fs;
use std::path::Path;

use serde_json::Value;

use run::{Ended, program, turn};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
/// The rows of docs/performance.md.
const ROWS: &str = "docs/figures/compare-2026-11-30.json";

fn ended(arguments: &[&str]) -> Ended {
    run::to_its_end(program().args(arguments))
}

fn succeeds(arguments: &[&str]) -> String {
    let Ended { code, text } = ended(arguments);
    assert_eq!(code, Some(0), "{arguments:?}: {text}");
    text
}

fn fails(arguments: &[&str], says: &[&str]) {
    let Ended { code, text } = ended(arguments);
    assert_eq!(code, Some(1), "{arguments:?}: {text}");
    for part in says {
        assert!(text.contains(part), "{part} is not in {text}");
    }
}

fn text(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).expect("a file")
}

/// A page or a picture that is whole, has both sets of colours and loads nothing.
fn assert_stands_alone(text: &str) {
    for tag in ["svg", "g", "title", "text", "style"] {
        let opened = [">", " "].map(|end| text.matches(&format!("<{tag}{end}")).count());
        let closed = text.matches(&format!("</{tag}>")).count();
        assert_eq!(opened.iter().sum::<usize>(), closed, "{tag}");
    }
    assert!(text.contains("prefers-color-scheme: dark"));
    assert!(!text.contains("NaN") && !text.contains("inf"));
    let own_name = "xmlns=\"http://www.w3.org/2000/svg\"";
    let text = text.replace(own_name, "");
    for from_outside in ["http", "src=", "href=", "url(", "@import", "<script"] {
        assert!(!text.contains(from_outside), "{from_outside}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_comparison_becomes_tables_a_page_and_a_plot() {
    let _turn = turn();
    let directory = tempfile::tempdir().expect("a directory");
    let file = |name: &str| {
        let path = directory.path().join(name);
        path.to_str().expect("a name").to_owned()
    };
    let (rows, page, plot) = (file("rows.json"), file("page.html"), file("plot.svg"));
    let options = "compare --quick --rounds 1 --peer pipe --size 56,64 --json";
    let options: Vec<&str> = options.split(' ').chain([rows.as_str()]).collect();
    succeeds(&options);

    let printed = succeeds(&["report", &rows]);
    assert_eq!(printed.matches("\n## ").count(), 3, "{printed}");
    assert_eq!(
        printed.matches("\n| pipe | processes |").count(),
        3,
        "{printed}"
    );
    assert!(
        printed.contains("| peer | between | 56 B | 64 B |"),
        "{printed}"
    );
    let all: Vec<Value> = serde_json::from_str(&text(&rows)).expect("an array");
    let verified = format!("All {} rows were verified in every round.", all.len());
    assert!(printed.contains(&verified), "{printed}");

    let nothing = succeeds(&["report", &rows, "--html", &page, "--svg", &plot]);
    assert_eq!(nothing, "");
    let (page, plot) = (text(&page), text(&plot));
    assert_stands_alone(&page);
    assert_stands_alone(&plot);
    assert_eq!(page.matches("<svg").count(), 2, "a plot for each size");
    assert_eq!(page.matches("<table>").count(), 3);
    // three more explain the colours
    assert_eq!(
        plot.matches("<circle").count(),
        10 + 3,
        "three peers in three scenarios, and a fourth one in streams"
    );

    let mut wrong = all;
    wrong[0]["verified"] = false.into();
    fs::write(&rows, Value::from(wrong).to_string()).expect("written");
    let printed = succeeds(&["report", &rows]);
    assert!(printed.contains("could NOT be verified"), "{printed}");
    assert!(
        printed.contains("| raw | processes | NOT VERIFIED |"),
        "{printed}"
    );
}

#[test]
fn files_of_another_kind_are_refused_with_what_to_do() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("rows.json");
    let (name, plot) = (
        path.to_str().expect("a name"),
        directory.path().join("p.svg"),
    );
    fails(&["report", name], &["rows.json", "No such file"]);
    for (content, says) in [
        // the rows of `raw --json` are an array, too
        (
            "[{\"scenario\": \"stream\", \"layer\": \"raw\"}]",
            "missing field `peer`",
        ),
        ("[{", "compare --json"),
        ("[]", "write some with `perf-bench compare --json`"),
        ("", "write some with `perf-bench sweep`"),
        ("<html>\n", "not a line of JSON"),
        ("{\"peer\": \"raw\"}\n", "the line has no format"),
    ] {
        fs::write(&path, content).expect("written");
        fails(&["report", name], &["rows.json", says]);
    }
    let row = "{\"format\": 1, \"tier\": \"smoke\", \"commit\": \"c0ffee\", \"command\": \"c\", \"processor\": \"p\", \
               \"cores\": \"2\", \"kernel\": \"k\", \"build\": \"release\", \"step\": \"s\", \"scenario\": \"stream\", \
               \"layer\": \"raw\", \"backend\": \"shm\", \"wait\": \"w\", \"size_bytes\": 56, \"capacity\": 64, \
               \"consumers\": 1, \"floor\": \"f\", \"unit\": \"M/s\", \"placement\": \"near\", \"rounds\": 1, \
               \"messages\": 1, \"figure\": 1.0, \"figure_min\": 1.0, \"figure_max\": 1.0, \"floor_figure\": 1.0, \
               \"ratio_to_floor\": 1.0, \"ratio_min\": 1.0, \"ratio_max\": 1.0, \"verified\": true, \"ratios\": [1.0]}\n";
    fs::write(&path, row).expect("written");
    assert!(succeeds(&["report", name]).contains("| stream |"));
    let plot = plot.to_str().expect("a name");
    fails(
        &["report", name, "--svg", plot],
        &[
            "--svg draws the rows of `perf-bench compare --json`",
            "--html",
        ],
    );
    assert!(!Path::new(plot).exists());
}

#[test]
fn the_committed_rows_give_the_tables_and_the_plot_of_the_pages() {
    let directory = tempfile::tempdir().expect("a directory");
    let plot = directory.path().join("plot.svg");
    let rows = format!("{ROOT}/{ROWS}");
    let printed = succeeds(&["report", &rows]);
    assert!(
        printed.contains("Each figure is the median of 3 runs."),
        "{printed}"
    );
    let performance = text(format!("{ROOT}/docs/performance.md"));
    let lines: Vec<&str> = printed
        .lines()
        .filter(|line| line.starts_with('|'))
        .collect();
    assert!(lines.len() > 40, "{printed}");
    for line in lines {
        assert!(
            performance.contains(line),
            "not in docs/performance.md: {line}"
        );
    }
    succeeds(&["report", &rows, "--svg", plot.to_str().expect("a name")]);
    let (drawn, shown) = (text(plot), text(format!("{ROOT}/docs/images/peers.svg")));
    assert_stands_alone(&drawn);
    assert!(
        drawn == shown,
        "docs/images/peers.svg is not the plot of {ROWS}"
    );
}
