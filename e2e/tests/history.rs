//! The API as a history: clients create, compare-and-set, delete and read a few keys while the API server is killed
//! again and again, watchers write down what they see, and nothing of it may contradict the rest.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use e2e::{
    Scenario, deadline,
    history::{Answer, Ask, Call, Kind, Moment, Seen, Watch, Wrong, check_calls, check_watches, states},
};
use futures::StreamExt;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ListParams, ObjectMeta, PostParams, Preconditions, WatchEvent, WatchParams},
};
use tokio::sync::mpsc;

/// Clients that write and read.
const CLIENTS: u64 = 6;
/// Keys that they fight over: few, so that they meet.
const KEYS: u64 = 4;
/// Watchers; every second one begins with a streaming list.
const WATCHERS: usize = 4;
/// Times that the API server is killed.
const KILLS: u32 = 4;
/// Calls that are answered before each kill and after the last one.
const CALLS_BETWEEN: usize = 400;
/// For that many calls, a restart included.
const ROUND_TIME: Duration = Duration::from_mins(1);
/// After a call that was not answered.
const RETRY_INTERVAL: Duration = Duration::from_millis(20);
/// A call that takes longer counts as not answered.
const CALL_TIME: Duration = Duration::from_secs(10);
/// Label of the keys, so that other Leases do not matter.
const LABEL: &str = "history=yes";

/// What everybody writes into.
struct Recorder {
    base: Instant,
    calls: Mutex<Vec<Call>>,
    stop: AtomicBool,
    numbers: AtomicU64,
}

impl Recorder {
    fn now(&self) -> Moment {
        self.base.elapsed().as_micros() as Moment
    }

    fn is_running(&self) -> bool {
        !self.stop.load(Ordering::SeqCst)
    }

    fn answered(&self) -> usize {
        let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.iter().filter(|call| call.answer != Answer::Unknown).count()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_history_contradicts_itself_whenever_the_api_server_is_killed() -> Result<()> {
    let mut scenario = Scenario::start(0, 1).await?;
    let leases: Api<Lease> = Api::default_namespaced(scenario.client());
    let after = list(&leases).await?.0;
    let recorder = Arc::new(Recorder {
        base: Instant::now(),
        calls: Mutex::default(),
        stop: AtomicBool::new(false),
        numbers: AtomicU64::new(0),
    });
    let finish = Arc::new(AtomicU64::new(u64::MAX));
    let (begun, mut beginning) = mpsc::channel::<()>(1);
    let mut watchers = Vec::new();
    for number in 0..WATCHERS {
        let begun = begun.clone();
        watchers.push(tokio::spawn(watch(scenario.client(), after, number % 2 == 1, begun, Arc::clone(&finish))));
    }
    // A streaming list shows only the newest state of what is there already: let them all begin with nothing.
    drop(begun);
    let all_begun = tokio::time::timeout(deadline::scaled(CALL_TIME), beginning.recv()).await;
    ensure!(all_begun.is_ok(), "the watches do not begin");
    let clients: Vec<_> =
        (0..CLIENTS).map(|seed| tokio::spawn(client(scenario.client(), seed, Arc::clone(&recorder)))).collect();
    for kill in 0..=KILLS {
        let wanted = recorder.answered() + CALLS_BETWEEN;
        let enough = async || Ok((recorder.answered() >= wanted).then_some(()));
        deadline::until(&format!("the calls before kill {kill}"), ROUND_TIME, enough).await?;
        if kill < KILLS {
            scenario.cluster().kill_apiserver()?;
            scenario.cluster().restart_apiserver().await?;
        }
    }
    recorder.stop.store(true, Ordering::SeqCst);
    for client in clients {
        client.await.context("a client panicked")?;
    }

    let (_, at_the_end) = list(&leases).await?;
    // One more change, by which every watcher sees that nothing is missing any more.
    let last = leases.create(&PostParams::default(), &lease("the-last", "the-last")).await?;
    let last = revision_of(&last)?;
    finish.store(last, Ordering::SeqCst);
    let mut seen = Vec::new();
    for watcher in watchers {
        let watch = tokio::time::timeout(deadline::scaled(ROUND_TIME), watcher)
            .await
            .context("a watcher does not see the end")?;
        seen.push(watch.context("a watcher panicked")??);
    }
    let calls = recorder.calls.lock().unwrap_or_else(PoisonError::into_inner).clone();
    judge(&calls, &seen, &at_the_end, last)
}

fn judge(calls: &[Call], watches: &[Watch], at_the_end: &BTreeMap<String, (u64, String)>, last: u64) -> Result<()> {
    let mut states = states(watches);
    states.remove("the-last");
    let mut wrong = check_calls(calls, &states, at_the_end);
    wrong.extend(check_watches(watches, last));
    let count = |wanted: fn(&Answer) -> bool| calls.iter().filter(|call| wanted(&call.answer)).count();
    let written = count(|answer| matches!(answer, Answer::Written(_)));
    let refused = count(|answer| *answer == Answer::Refused);
    let unknown = count(|answer| *answer == Answer::Unknown);
    let resumed = watches.iter().flat_map(|watch| &watch.seen).filter(|seen| matches!(seen, Seen::Resumed(_))).count();
    println!(
        "{} calls: {written} written, {refused} refused, {unknown} unanswered; {resumed} watches resumed",
        calls.len()
    );
    let shown: Vec<String> = wrong.iter().take(10).map(Wrong::to_string).collect();
    ensure!(wrong.is_empty(), "{} contradictions, the first ones:\n{}", wrong.len(), shown.join("\n"));
    // A history in which nothing happens contradicts nothing.
    ensure!(written > 200 && refused > 0 && unknown > 0 && resumed >= WATCHERS, "too little has happened");
    Ok(())
}

fn lease(name: &str, value: &str) -> Lease {
    let labels = BTreeMap::from([("history".to_owned(), "yes".to_owned())]);
    Lease {
        metadata: ObjectMeta { name: Some(name.to_owned()), labels: Some(labels), ..ObjectMeta::default() },
        spec: Some(LeaseSpec { holder_identity: Some(value.to_owned()), ..LeaseSpec::default() }),
    }
}

fn revision_of(lease: &Lease) -> Result<u64> {
    lease
        .resource_version()
        .context("an object without a resourceVersion")?
        .parse()
        .context("a resourceVersion of ours is a number")
}

fn value_of(lease: &Lease) -> String {
    lease.spec.as_ref().and_then(|spec| spec.holder_identity.clone()).unwrap_or_default()
}

/// The newest revision, and every key with its revision and value.
async fn list(leases: &Api<Lease>) -> Result<(u64, BTreeMap<String, (u64, String)>)> {
    let list = leases.list(&ListParams::default().labels(LABEL)).await?;
    let revision = list.metadata.resource_version.context("a list without a resourceVersion")?.parse()?;
    let items = list.items.iter().map(|lease| Ok((lease.name_any(), (revision_of(lease)?, value_of(lease)))));
    Ok((revision, items.collect::<Result<_>>()?))
}

/// Draws the next of a sequence of numbers that only its seed decides (splitmix64).
fn draw(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Calls and writes down, until it is told to stop.
async fn client(client: Client, seed: u64, recorder: Arc<Recorder>) {
    let leases: Api<Lease> = Api::default_namespaced(client);
    let mut random = seed;
    // What this client has last seen of each key: what it compares with when it sets.
    let mut known: BTreeMap<String, u64> = BTreeMap::new();
    while recorder.is_running() {
        let key = format!("key-{}", draw(&mut random) % KEYS);
        let value = || format!("value-{}", recorder.numbers.fetch_add(1, Ordering::SeqCst));
        let ask = match (draw(&mut random) % 10, known.get(&key).copied()) {
            (0..=2, _) => Ask::Get,
            (3, Some(expected)) => Ask::Delete { expected },
            (4, _) | (_, None) => Ask::Create { value: value() },
            (_, Some(expected)) => Ask::Replace { value: value(), expected },
        };
        let sent = recorder.now();
        let answer = tokio::time::timeout(CALL_TIME, perform(&leases, &key, &ask)).await.unwrap_or(Answer::Unknown);
        match (&ask, &answer) {
            (_, Answer::Read(Some((revision, _))) | Answer::Written(Some(revision))) => {
                known.insert(key.clone(), *revision);
            }
            (Ask::Delete { .. }, Answer::Written(None)) | (_, Answer::Read(None)) => {
                known.remove(&key);
            }
            _ => {}
        }
        let is_unknown = answer == Answer::Unknown;
        let call = Call { key, ask, sent, answered: recorder.now(), answer };
        recorder.calls.lock().unwrap_or_else(PoisonError::into_inner).push(call);
        if is_unknown {
            tokio::time::sleep(RETRY_INTERVAL).await;
        }
    }
}

async fn perform(leases: &Api<Lease>, key: &str, ask: &Ask) -> Answer {
    let params = PostParams::default();
    let done = match ask {
        Ask::Get => {
            return match leases.get_opt(key).await {
                Ok(found) => read(found.as_ref()),
                Err(_) => Answer::Unknown,
            };
        }
        Ask::Create { value } => leases.create(&params, &lease(key, value)).await.map(Some),
        Ask::Replace { value, expected } => {
            let mut new = lease(key, value);
            new.metadata.resource_version = Some(expected.to_string());
            leases.replace(key, &params, &new).await.map(Some)
        }
        Ask::Delete { expected } => {
            let version = Some(expected.to_string());
            let preconditions = Preconditions { resource_version: version, uid: None };
            let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
            leases.delete(key, &params).await.map(|_| None)
        }
    };
    match done {
        Ok(Some(lease)) => revision_of(&lease).map_or(Answer::Unknown, |revision| Answer::Written(Some(revision))),
        Ok(None) => Answer::Written(None),
        // 404 and 409: somebody else was first. Anything else leaves open what happened.
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Answer::Refused,
        Err(_) => Answer::Unknown,
    }
}

fn read(found: Option<&Lease>) -> Answer {
    let Some(lease) = found else { return Answer::Read(None) };
    revision_of(lease).map_or(Answer::Unknown, |revision| Answer::Read(Some((revision, value_of(lease)))))
}

/// Follows all keys and writes down what comes, across broken connections, until it has seen revision `finish`. Lets
/// go of `begun` once it follows.
async fn watch(
    client: Client,
    after: u64,
    streaming: bool,
    begun: mpsc::Sender<()>,
    finish: Arc<AtomicU64>,
) -> Result<Watch> {
    let leases: Api<Lease> = Api::default_namespaced(client);
    let mut watch = Watch { after, seen: Vec::new() };
    let mut last = after;
    let mut params = WatchParams::default().labels(LABEL).timeout(60);
    let mut begun = Some(begun).filter(|_| streaming);
    if streaming {
        // All keys are absent at first, so the list that comes first is empty and ends with a bookmark.
        params = params.initial_events();
    }
    while last < finish.load(Ordering::SeqCst) {
        if let Ok(stream) = leases.watch(&params, &last.to_string()).await {
            let mut events = Box::pin(stream);
            while let Ok(Some(Ok(event))) = tokio::time::timeout(CALL_TIME, events.next()).await {
                let Some(revision) = note(&mut watch.seen, event)? else { break };
                last = last.max(revision);
                begun = None;
                params = WatchParams::default().labels(LABEL).timeout(60);
                if last >= finish.load(Ordering::SeqCst) {
                    return Ok(watch);
                }
            }
        }
        tokio::time::sleep(RETRY_INTERVAL).await;
        watch.seen.push(Seen::Resumed(last));
    }
    drop(begun);
    Ok(watch)
}

/// Writes an event down. Answers its revision; `None`: the watch has failed.
fn note(seen: &mut Vec<Seen>, event: WatchEvent<Lease>) -> Result<Option<u64>> {
    let (kind, lease) = match event {
        WatchEvent::Added(lease) => (Kind::Added, lease),
        WatchEvent::Modified(lease) => (Kind::Modified, lease),
        WatchEvent::Deleted(lease) => (Kind::Deleted, lease),
        WatchEvent::Bookmark(bookmark) => {
            let revision = bookmark.metadata.resource_version.parse().context("a bookmark's resourceVersion")?;
            seen.push(Seen::Bookmark(revision));
            return Ok(Some(revision));
        }
        WatchEvent::Error(status) => {
            ensure!(status.code != 410, "a watch was told to list anew, in so short a history: {status:?}");
            return Ok(None);
        }
    };
    let revision = revision_of(&lease)?;
    seen.push(Seen::Event { kind, key: lease.name_any(), revision, value: value_of(&lease) });
    Ok(Some(revision))
}
