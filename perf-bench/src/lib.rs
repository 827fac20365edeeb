//! Measures the cost of this family's rings, beside the floor of the machine in the same run.
//!
//! `perf-bench` alone measures all of layer 0, `limits` only the floor, and `raw` layer 0 with options. `layers`
//! measures the cost that frames and codecs add, `wait` the cost of waiting, and `broadcast` that of further consumers.
//! `sweep` measures everything into a file, `check` compares two such files, `report` shows one, and `repeat` shows how
//! far ratios spread from run to run. `pingpong` and `stream` measure any layer, backend, wait strategy and size, also
//! at a fixed rate; `churn` attaches and detaches under load, and `nofrag` sends messages whole that would be split.
//! `compare` measures other transports beside the rings; the crates among them are in `perf-bench/peers`, whose program
//! is this one with its own [`Peer`](compare::Peer)s. Two processes run on a core of their own each. Every event is
//! written and read in full and verified; long messages are verified by sample. See `--help`.

use std::io::IsTerminal;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use nix::sys::statfs::{TMPFS_MAGIC, statfs};

use crate::arena::Arena;
use crate::backend::Backend;
use crate::child::Child;
use crate::clock::Clock;
use crate::compare::{CompareScenario, Peer as Compared};
use crate::floor::operation::Operation;
use crate::layers::{LayerScenario, Layers};
use crate::machine::Origin;
use crate::measure::{Bench, Effort, Group, Series};
use crate::options::{Choice, Command, Common, Options, Raw};
use crate::plan::{Plan, Scenario, Wanted};
use crate::process::{Answer, Order, Peer};
use crate::report::comparison::Row;
use crate::scenario::Failure;
use crate::scenario::wait::broadcast::Broadcast;
use crate::scenario::wait::session::SessionScenario;
use crate::scenario::wait::{Setting, WaitScenario, churn};
use crate::selection::{Selection, Traffic};
use crate::spec::{Beside, Layer, Work};
use crate::strategy::Strategy;
use crate::watch::Stopped;

mod affinity;
mod arena;
mod backend;
mod child;
mod clock;
pub mod compare;
mod fault;
mod floor;
mod layers;
mod machine;
mod measure;
mod options;
mod pace;
mod payload;
mod placement;
mod plan;
mod process;
mod repeat;
mod report;
mod sample;
mod scenario;
mod selection;
mod spec;
mod strategy;
mod sweep;
mod usage;
mod watch;

/// Runs the program, with these peers of `compare` beside its own.
pub fn run(peers: &'static [Compared]) -> ExitCode {
    compare::add(peers);
    let options = Options::parse();
    if options.list {
        list();
        return ExitCode::SUCCESS;
    }
    if let Some(ms) = options.common.hang_limit_ms {
        watch::set_hang_limit(Duration::from_millis(ms));
    }
    // A wait that has to end unwinds to here. Unwinding drops everything on the way, which removes the names.
    let result = catch_unwind(AssertUnwindSafe(|| command(options)));
    let result = result.unwrap_or_else(|thrown| match thrown.downcast::<Stopped>() {
        Ok(stopped) => Err(stopped.0.into()),
        Err(thrown) => std::panic::resume_unwind(thrown),
    });
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("perf-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the command; returns whether every row was verified.
fn command(options: Options) -> Result<bool, Failure> {
    let (raw, only_floor) = match options.command {
        Some(Command::Peer { descriptor, core }) => {
            return process::serve(descriptor, core).map(|()| true);
        }
        Some(Command::Party { descriptor, core }) => {
            return scenario::wait::party::serve(descriptor, core).map(|()| true);
        }
        Some(Command::Layers(layers)) => {
            let root = MmapRoot::new(layers.mmap_root.as_deref())?;
            let layers = Layers::new(&layers.scenarios, &layers.backends, &root.0);
            return measure_layers("layers", &layers, &options.common);
        }
        Some(Command::Wait(wait)) => return measure_waiting(&wait, &options.common),
        Some(Command::Session(wanted)) => {
            return measure_parties("sessions", &options.common, |setting| {
                let pause = Duration::from_millis(wanted.pause_ms);
                scenario::wait::session::run(&wanted.scenarios, pause, setting)
            });
        }
        Some(Command::Broadcast(wanted)) if wanted.rings.are_chosen() => {
            return measure_chosen_broadcasts(&wanted, &options.common);
        }
        Some(Command::Broadcast(wanted)) => {
            let broadcast = Broadcast {
                consumers: wanted.consumers,
                strategy: wanted.wait_strategy,
                capacity: wanted.capacity.unwrap_or(1024),
            };
            return measure_parties("broadcast", &options.common, |setting| {
                broadcast.run(setting)
            });
        }
        Some(Command::Pingpong(choice)) => {
            let traffic = Traffic::PingPong { per_s: choice.rate };
            return measure_choice(&choice, traffic, &options.common);
        }
        Some(Command::Stream { choice, batch_size }) => {
            let traffic = Traffic::Stream {
                batch: batch_size as usize,
                per_s: choice.rate,
            };
            return measure_choice(&choice, traffic, &options.common);
        }
        Some(Command::Churn(wanted)) => return measure_churn(&wanted, &options.common),
        Some(Command::Nofrag {
            sizes,
            backends,
            mmap_root,
        }) => {
            let root = MmapRoot::new(mmap_root.as_deref())?;
            let layers = Layers::unfragmented(&sizes, &backends, &root.0);
            if !layers.plan.has_rings() {
                return Err(
                    "nothing to measure: no frames are smaller than messages of that size".into(),
                );
            }
            return measure_layers("nofrag", &layers, &options.common);
        }
        Some(Command::Compare(wanted)) => return compare::run(&wanted, &options.common),
        Some(Command::Sweep(options_of_sweep)) => return sweep(&options_of_sweep, &options.common),
        Some(Command::Repeat(repeat)) => {
            let root = MmapRoot::new(repeat.raw.mmap_root.as_deref())?;
            let mut plan = raw_plan(repeat.raw, &root)?;
            return repeat::run(repeat.times, &mut plan, &options.common);
        }
        Some(Command::Check { old, new }) => return check(&old, &new),
        Some(Command::Report {
            rows,
            html,
            markdown,
            svg,
        }) => return write_report(&rows, html.as_deref(), markdown.as_deref(), svg.as_deref()),
        Some(Command::Raw(raw)) => (raw, false),
        Some(Command::Limits) => (Raw::default(), true),
        None => (Raw::default(), false),
    };
    let root = MmapRoot::new(raw.mmap_root.as_deref())?;
    if only_floor {
        let wanted = wanted(raw, &root, Some(Vec::new()));
        let mut plan = Plan::new(&wanted);
        plan.add_limits(&wanted);
        // the copies of this size that do not fit the second-level cache
        plan.add_floor(Work::FreshCopy, layers::LARGE_FRAME_BYTES, layers::DEPTH);
        return measure_limits(&plan, &options.common);
    }
    measure_and_report(&raw_plan(raw, &root)?, &options.common)
}

fn wanted(raw: Raw, root: &MmapRoot, backends: Option<Vec<Backend>>) -> Wanted {
    Wanted {
        sizes: raw.sizes,
        backends,
        scenarios: raw.scenarios,
        capacity: raw.capacity,
        ping_pong_capacity: raw.ping_pong_capacity,
        mmap_root: root.0.clone(),
    }
}

/// The plan of the raw scenarios.
fn raw_plan(raw: Raw, root: &MmapRoot) -> Result<Plan, Failure> {
    let backends = raw.backends.clone();
    let plan = Plan::new(&wanted(raw, root, backends));
    if !plan.has_rings() {
        let sizes = payload::PACKED_SIZES;
        return Err(format!("nothing to measure: packed streams are for {sizes:?} bytes").into());
    }
    Ok(plan)
}

fn sweep(options: &options::Sweep, common: &Common) -> Result<bool, Failure> {
    watch::catch_interrupts();
    let root = MmapRoot::new(options.mmap_root.as_deref())?;
    let name = options.tier.to_possible_value();
    let name = name.map_or_else(String::new, |name| name.get_name().to_owned());
    let out = options.out.clone();
    let out = out.unwrap_or_else(|| PathBuf::from(format!("perf-bench-{name}.jsonl")));
    let bar = progress_with("{bar:40} {percent} % of the sweep, {eta} left: {msg}");
    let sweep = sweep::Sweep {
        tier: options.tier,
        out: &out,
        is_fresh: options.fresh,
        commit: options.commit.as_deref(),
        mmap_root: &root.0,
        round_limit: common.round_limit(),
        faults: common.planted(),
        cores: common.cores.as_deref(),
    };
    let records = sweep.run(|step, done, total| {
        bar.set_length(total);
        bar.set_position(done);
        bar.set_message(step.to_owned());
    })?;
    bar.finish_and_clear();
    println!("{}", sweep::render(&records));
    println!("rows: {}", out.display());
    if let Some(path) = &options.csv {
        sweep::record::write_csv(path, &records)?;
    }
    Ok(records.iter().all(|record| record.verified))
}

/// Compares two files of rows; returns whether the later one is no worse.
fn check(old: &Path, new: &Path) -> Result<bool, Failure> {
    let (old, new) = (sweep::record::read(old)?, sweep::record::read(new)?);
    let check = sweep::check::Check::new(&old, &new)?;
    print!("{}", check.render());
    Ok(check.is_good())
}

/// Writes the rows of a sweep or of a comparison with peers for people.
fn write_report(
    rows: &Path,
    html: Option<&Path>,
    markdown: Option<&Path>,
    svg: Option<&Path>,
) -> Result<bool, Failure> {
    let shown = rows.display();
    let (page, text, plot) = if let Some(rows) = compare::row::read(rows)? {
        let peers = report::peers::Peers::of(&rows);
        (peers.page(), peers.markdown(), Some(peers.plot()))
    } else {
        let records = sweep::record::read(rows)?;
        if records.is_empty() {
            return Err(format!("{shown}: no rows; write some with `perf-bench sweep`").into());
        }
        let page = report::page::render(&records);
        (page, report::markdown::render(&records), None)
    };
    if let Some(path) = svg {
        let plot = plot.ok_or_else(|| {
            format!(
                "{shown}: --svg draws the rows of `perf-bench compare --json`, and these are of `perf-bench sweep`; \
                 --html draws them"
            )
        })?;
        report::json::replace(path, &plot)?;
    }
    if let Some(path) = html {
        report::json::replace(path, &page)?;
    }
    match markdown {
        Some(path) => report::json::replace(path, &text)?,
        None if html.is_none() && svg.is_none() => print!("{text}"),
        None => {}
    }
    Ok(true)
}

/// What all measurements of a process share: where it runs, and its clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ground {
    cores: Option<affinity::Cores>,
    clock: Clock,
}

impl Ground {
    /// Pins this process, and prints a description of the machine.
    pub(crate) fn prepare(common: &Common) -> Result<Self, Failure> {
        watch::catch_interrupts();
        let cores = affinity::two_cores(common.cores.as_deref())?;
        let cores = cores.filter(|cores| affinity::pin(cores.driver));
        let clock = Clock::calibrate();
        println!("{}", machine::Machine::read(cores));
        Ok(Self { cores, clock })
    }

    /// Measures the cells of `plan`.
    fn measure(
        self,
        plan: &Plan,
        common: &Common,
        by_placement: bool,
    ) -> Result<Vec<Group>, Failure> {
        let effort = Effort {
            rounds: common.rounds(),
            budget: Duration::from_secs(common.budget_s),
            is_quick: common.quick,
            round_limit: common.round_limit(),
            faults: common.planted(),
            by_placement,
        };
        let bar = progress((effort.rounds + 1) * plan.cells.len());
        let groups = run_plan(plan, effort, self.cores, self.clock, || bar.inc(1))?;
        bar.finish_and_clear();
        Ok(groups)
    }

    /// Measures the cells of `plan`, with all rounds together.
    pub(crate) fn measure_all(self, plan: &Plan, common: &Common) -> Result<Vec<Series>, Failure> {
        let group = self.measure(plan, common, false)?.pop();
        Ok(group.ok_or("no round was counted")?.series)
    }
}

/// Measures the cells of `plan` with a new second process.
pub(crate) fn run_plan(
    plan: &Plan,
    effort: Effort,
    cores: Option<affinity::Cores>,
    clock: Clock,
    on_step: impl FnMut(),
) -> Result<Vec<Group>, Failure> {
    let arena = Arena::create(plan.arena_bytes)?;
    let receivers = start_receivers(plan, &arena, cores)?;
    let peer = Peer::start(&arena, cores.map(|cores| cores.peer))?;
    let bench = Bench {
        plan,
        effort,
        clock,
        arena,
        peer,
        receivers,
    };
    bench.run(on_step)
}

/// The receivers of the plan's broadcasts, which run on both cores.
fn start_receivers(
    plan: &Plan,
    arena: &Arena,
    cores: Option<affinity::Cores>,
) -> Result<Vec<Child<Order, Answer>>, Failure> {
    let broadcasts = plan.cells.iter().filter(|cell| cell.spec.is_broadcast());
    let Some(most) = broadcasts.map(|cell| cell.spec.receivers()).max() else {
        return Ok(Vec::new());
    };
    if let Some(cores) = cores {
        affinity::keep_to(cores);
    }
    let receivers = (0..most).map(|_| process::start_receiver(arena)).collect();
    if let Some(cores) = cores {
        affinity::pin(cores.driver);
    }
    receivers
}

/// Measures the floor, and prints the rounds of each placement by themselves.
fn measure_limits(plan: &Plan, common: &Common) -> Result<bool, Failure> {
    let ground = Ground::prepare(common)?;
    let groups = ground.measure(plan, common, true)?;
    let mut all = Vec::new();
    for Group { placement, series } in &groups {
        let name = placement.map(|(placement, _)| placement.name());
        let mut rows = report::rows(plan, series);
        if let Some((placement, around)) = placement {
            let rounds = series[0].figures.len();
            println!(
                "\nplacement {}, {rounds} rounds: {around}\n",
                placement.name()
            );
        }
        rows.iter_mut().for_each(|row| row.placement = name);
        println!("{}", report::table::render(&rows));
        all.extend(rows);
    }
    println!("bare stream: {}", floor::STREAM_POLICY);
    if let Some(path) = &common.json {
        report::json::write(path, &all, &Origin::of_process(ground.cores))?;
    }
    Ok(all_verified(all.iter().map(report::Row::complaint)))
}

/// The directories of file-backed rings: on tmpfs, and on a disk if a backend needs one.
fn roots(
    backends: &[Backend],
    mmap_root: Option<&Path>,
    disk_root: Option<&Path>,
) -> Result<(MmapRoot, Option<MmapRoot>), Failure> {
    let mmap = MmapRoot::new(mmap_root)?;
    let disk = match backends.contains(&Backend::Disk) {
        true => Some(MmapRoot::on_disk(disk_root)?),
        false => None,
    };
    Ok((mmap, disk))
}

/// Calls `measure` with the choice of rings.
fn with_rings(
    rings: &options::Rings,
    (strategy, capacity): (Strategy, Option<usize>),
    measure: impl FnOnce(Selection<'_>) -> Result<bool, Failure>,
) -> Result<bool, Failure> {
    let backends = rings.backends.as_deref().unwrap_or(&[Backend::Shm]);
    let (mmap_root, disk_root) = (rings.mmap_root.as_deref(), rings.disk_root.as_deref());
    let (mmap, disk) = roots(backends, mmap_root, disk_root)?;
    measure(Selection {
        layers: rings.layers.as_deref().unwrap_or(&[Layer::Raw]),
        backends,
        strategies: &[strategy],
        sizes: rings.sizes.as_deref().unwrap_or(&[64]),
        capacity,
        traffic: selection::ONE_WAY,
        besides: &[Beside::Nothing],
        roots: (&mmap.0, disk.as_ref().map_or(&mmap.0, |disk| &disk.0)),
    })
}

/// Measures what `broadcast` was asked for on chosen layers.
fn measure_chosen_broadcasts(
    choice: &options::Broadcast,
    common: &Common,
) -> Result<bool, Failure> {
    let shape = (choice.wait_strategy, choice.capacity);
    with_rings(&choice.rings, shape, |selection| {
        measure_selected(&selection.broadcasts(&choice.consumers), common)
    })
}

/// Measures what `churn` was asked for.
fn measure_churn(wanted: &options::Churn, common: &Common) -> Result<bool, Failure> {
    let measure = |rings: &Plan| {
        has_messages(rings)?;
        measure_parties("churn", common, |setting| churn::run(rings, setting))
    };
    let (strategy, capacity) = (wanted.wait_strategy, wanted.capacity);
    if !wanted.rings.are_chosen() {
        return measure(&selection::of_events(strategy, capacity));
    }
    with_rings(&wanted.rings, (strategy, capacity), |selection| {
        measure(&selection.rings())
    })
}

/// Measures what `wait` was asked for.
fn measure_waiting(wanted: &options::Wait, common: &Common) -> Result<bool, Failure> {
    let scenarios = wanted.scenarios.as_deref();
    if !wanted.rings.are_chosen() {
        let scenarios = scenarios.unwrap_or(WaitScenario::value_variants());
        return measure_parties("waiting", common, |setting| {
            scenario::wait::run(scenarios, setting)
        });
    }
    let mut others = scenarios.unwrap_or_default().iter();
    if let Some(other) = others.find(|other| !WaitScenario::CHOSEN.contains(other)) {
        let name = |scenario: &WaitScenario| {
            let name = scenario.to_possible_value();
            name.map_or_else(String::new, |name| name.get_name().to_owned())
        };
        let have = WaitScenario::CHOSEN.each_ref().map(name).join(", ");
        return Err(format!(
            "{} has rings of its own: --layer, --backend and --size are for these scenarios: {have}",
            name(other)
        )
        .into());
    }
    with_rings(&wanted.rings, (Strategy::Block, None), |selection| {
        let rings = selection.rings();
        has_messages(&rings)?;
        measure_parties("waiting", common, |setting| {
            scenario::wait::run_chosen(&rings, setting)
        })
    })
}

/// An error if there is nothing to measure.
fn has_messages(plan: &Plan) -> Result<(), Failure> {
    match plan.has_rings() {
        true => Ok(()),
        false => Err(
            "nothing to measure: no chosen layer has messages of a chosen size; see --help".into(),
        ),
    }
}

/// Measures what `pingpong` and `stream` were asked for.
fn measure_choice(choice: &Choice, traffic: Traffic, common: &Common) -> Result<bool, Failure> {
    let (mmap_root, disk_root) = (choice.mmap_root.as_deref(), choice.disk_root.as_deref());
    let (mmap, disk) = roots(&choice.backends, mmap_root, disk_root)?;
    let mut besides = vec![Beside::Nothing];
    besides.extend(choice.enable_counters.then_some(Beside::Counters));
    besides.extend(choice.liveness.then_some(Beside::Required));
    let selection = Selection {
        layers: &choice.layers,
        backends: &choice.backends,
        strategies: &choice.strategies,
        sizes: &choice.sizes,
        capacity: choice.capacity,
        traffic,
        besides: &besides,
        roots: (&mmap.0, disk.as_ref().map_or(&mmap.0, |disk| &disk.0)),
    };
    measure_selected(&selection.plan(), common)
}

fn measure_selected(plan: &Plan, common: &Common) -> Result<bool, Failure> {
    has_messages(plan)?;
    let ground = Ground::prepare(common)?;
    let series = ground.measure_all(plan, common)?;
    let rows = report::rows(plan, &series);
    println!("{}", report::table::render(&rows));
    println!("{}\n", report::verdict::COLUMNS);
    if plan.cells.iter().any(|cell| cell.spec.is_broadcast()) {
        println!("broadcasts: x bare is the ratio to the same ring with one consumer\n");
    }
    println!("{}", report::verdict::trust(&rows, ground.cores.is_some()));
    if let Some(path) = &common.json {
        report::json::write(path, &rows, &Origin::of_process(ground.cores))?;
    }
    Ok(all_verified(rows.iter().map(report::Row::complaint)))
}

fn measure_layers(title: &str, layers: &Layers, common: &Common) -> Result<bool, Failure> {
    let ground = Ground::prepare(common)?;
    let series = ground.measure_all(&layers.plan, common)?;
    report_comparisons(title, &layers.rows(&series), common, ground.cores)
}

fn measure_and_report(plan: &Plan, common: &Common) -> Result<bool, Failure> {
    let ground = Ground::prepare(common)?;
    let series = ground.measure_all(plan, common)?;
    let rows = report::rows(plan, &series);
    println!("{}", report::table::render(&rows));
    if let Some(line) = report::batches(plan, &series) {
        println!("{line}\n");
    }
    println!("bare stream: {}", floor::STREAM_POLICY);
    println!(
        "ratios: within a round, then the median of {} rounds",
        rows[0].rounds
    );
    if let Some(path) = &common.json {
        report::json::write(path, &rows, &Origin::of_process(ground.cores))?;
    }
    println!("\n{}\n", report::verdict::COLUMNS);
    for sentence in report::verdict::verdict(&rows, ground.cores.is_some()) {
        println!("{sentence}");
    }
    Ok(all_verified(rows.iter().map(report::Row::complaint)))
}

/// Measures scenarios that need more than two processes.
fn measure_parties(
    title: &str,
    common: &Common,
    measure: impl FnOnce(Setting<'_>) -> Result<Vec<Row>, Failure>,
) -> Result<bool, Failure> {
    watch::catch_interrupts();
    let cores = affinity::two_cores(common.cores.as_deref())?;
    let cores = cores.filter(|&cores| affinity::keep_to(cores));
    println!("{}", machine::Machine::read(cores));
    let arena = Arena::create(scenario::wait::ARENA_BYTES)?;
    let setting = Setting {
        arena: &arena,
        cores,
        rounds: common.rounds(),
        is_quick: common.quick,
        round_limit: common.round_limit(),
        faults: common.planted(),
    };
    report_comparisons(title, &measure(setting)?, common, cores)
}

/// Prints the rows and writes them to the JSON file; returns whether all were verified.
fn report_comparisons(
    title: &str,
    rows: &[Row],
    common: &Common,
    cores: Option<affinity::Cores>,
) -> Result<bool, Failure> {
    println!("{}", report::comparison::render(title, rows));
    if let Some(path) = &common.json {
        report::json::write(path, rows, &Origin::of_process(cores))?;
    }
    Ok(all_verified(rows.iter().map(Row::complaint)))
}

/// Prints each complaint of a row that is not verified; returns whether there was none.
pub(crate) fn all_verified(complaints: impl Iterator<Item = Option<String>>) -> bool {
    let complaints: Vec<_> = complaints.flatten().collect();
    for complaint in &complaints {
        eprintln!("perf-bench: {complaint}");
    }
    complaints.is_empty()
}

/// A progress bar, which is visible only on a terminal.
fn progress(steps: usize) -> ProgressBar {
    let bar = progress_with("{bar:40} {pos}/{len} {elapsed}");
    bar.set_length(steps as u64);
    bar
}

/// A progress bar of that form, which is visible only on a terminal.
fn progress_with(template: &str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(1);
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

fn list() {
    let names = |values: Vec<Option<clap::builder::PossibleValue>>| {
        let names: Vec<String> = values
            .iter()
            .flatten()
            .map(|v| v.get_name().to_owned())
            .collect();
        names.join(" ")
    };
    println!(
        "floors     one_line_bounce two_line_bounce bare_ping_pong bare_stream bare_stream_batch16 \
         bare_stream_packed bare_stream_packed_batch16 bare_cursor hot_copy fresh_copy"
    );
    println!(
        "operations {}",
        Operation::ALL.map(Operation::name).join(" ")
    );
    let layers = LayerScenario::value_variants()
        .iter()
        .map(ValueEnum::to_possible_value);
    println!("layers     {}", names(layers.collect()));
    let waiting = WaitScenario::value_variants()
        .iter()
        .map(ValueEnum::to_possible_value);
    println!("waiting    {}", names(waiting.collect()));
    let sessions = SessionScenario::value_variants()
        .iter()
        .map(ValueEnum::to_possible_value);
    println!("session    {}", names(sessions.collect()));
    println!("broadcast  broadcast broadcast_observer broadcast_slow broadcast_dead churn");
    let chosen = Layer::value_variants()
        .iter()
        .map(ValueEnum::to_possible_value);
    println!("pingpong   {}", names(chosen.collect()));
    let compared = CompareScenario::value_variants()
        .iter()
        .map(ValueEnum::to_possible_value);
    println!("compare    {}", names(compared.collect()));
    let scenarios = Scenario::value_variants()
        .iter()
        .map(ValueEnum::to_possible_value);
    println!("scenarios  {}", names(scenarios.collect()));
    let backends = Backend::value_variants()
        .iter()
        .map(ValueEnum::to_possible_value);
    println!("backends   {}", names(backends.collect()));
    println!(
        "sizes      {}",
        payload::SIZES.map(|size| size.to_string()).join(" ")
    );
}

/// The directory of file-backed rings: the user's, or one that this run creates and removes at the end.
struct MmapRoot(PathBuf, bool);

impl MmapRoot {
    fn new(wanted: Option<&Path>) -> Result<Self, Failure> {
        if let Some(path) = wanted {
            return Ok(Self(path.to_owned(), false));
        }
        let shared_memory = PathBuf::from("/dev/shm");
        let parent = if shared_memory.is_dir() {
            shared_memory
        } else {
            std::env::temp_dir()
        };
        Self::within(&parent)
    }

    /// A directory that is on a disk.
    fn on_disk(wanted: Option<&Path>) -> Result<Self, Failure> {
        let parent = wanted.map_or_else(std::env::temp_dir, Path::to_owned);
        let shown = parent.display();
        let system = statfs(&parent).map_err(|error| format!("{shown}: {error}"))?;
        if system.filesystem_type() == TMPFS_MAGIC {
            return Err(format!(
                "{shown} is on tmpfs, and a disk was expected: give a directory on a disk with --disk-root"
            )
            .into());
        }
        match wanted {
            Some(path) => Ok(Self(path.to_owned(), false)),
            None => Self::within(&parent),
        }
    }

    /// A new directory.
    fn within(parent: &Path) -> Result<Self, Failure> {
        let path = parent.join(format!("perf-bench-{}", std::process::id()));
        std::fs::create_dir(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self(path, true))
    }
}

impl Drop for MmapRoot {
    fn drop(&mut self) {
        if self.1 {
            // This removes the directory only if it is empty; the plan has removed its files by then.
            let _ = std::fs::remove_dir(&self.0);
        }
    }
}
