//! What views of a thousand nodes take, counted where it is allocated.

use std::alloc::{GlobalAlloc, Layout as Memory, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use berth_cluster::keys::{Held, Kind, Layout};
use berth_cluster::names::NodeName;
use berth_cluster::objects::{Container, Image, Object, TaskState};
use berth_cluster::peers::etcd::{self, If, Write};
use berth_cluster::peers::stored;
use berth_cluster::view::{Settings, Views};
use berth_lifecycle::Tasks;
use berth_testkit::Etcd;

static LIVE: AtomicUsize = AtomicUsize::new(0);

/// The system's allocator, which counts what is allocated now.
struct Counting;

// SAFETY: all is the system's; only sizes are noted.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, memory: Memory) -> *mut u8 {
        LIVE.fetch_add(memory.size(), Ordering::Relaxed);
        // SAFETY: as the caller has it.
        unsafe { System.alloc(memory) }
    }

    unsafe fn dealloc(&self, at: *mut u8, memory: Memory) {
        LIVE.fetch_sub(memory.size(), Ordering::Relaxed);
        // SAFETY: as the caller has it.
        unsafe { System.dealloc(at, memory) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const NODES: usize = 1000;
const CONTAINERS: usize = 30;
const IMAGES: usize = 50;
/// Images that there are at all.
const DIFFERENT: usize = 300;

fn container(node: usize, number: usize) -> Object {
    Object::Container(Container {
        image: format!("registry.example.org/team/service-{}:1.{number}", number % 7),
        runtime: "io.containerd.runc.v2".into(),
        labels: [
            ("io.kubernetes.pod.name", format!("service-{number}-7d9c-{node}")),
            ("io.kubernetes.pod.namespace", "production".into()),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into(),
        labels_left_out: false,
        created: Some(time::OffsetDateTime::UNIX_EPOCH),
        state: TaskState::Running,
        pid: 7,
        exit_status: 0,
        exited: None,
    })
}

fn image(number: usize) -> Object {
    let digest = |number: usize| format!("sha256:{number:064x}").parse().expect("as it was made");
    Object::Image(Image {
        digest: digest(number),
        media_type: "application/vnd.oci.image.index.v1+json".into(),
        size: 100,
        complete: true,
        layers: (0..8).map(|layer| digest(1000 * number + layer)).collect(),
        missing: Vec::new(),
    })
}

fn holdings(layout: &Layout, node: usize) -> Vec<Write> {
    let name: NodeName = format!("node-{node:04}.example.org").parse().expect("as it was made");
    let put = |held: Held, object: &Object| {
        let key = layout.held(&name, &held);
        Write::Put { key, value: stored::encode(object).into(), lease: 0 }
    };
    let containers = (0..CONTAINERS).map(|number| {
        let id = format!("{:064x}", node * 1_000_003 + number);
        put(
            Held::new(Kind::Containers, "k8s.io", &id).expect("as it was made"),
            &container(node, number),
        )
    });
    let images = (0..IMAGES).map(|number| {
        let image_of = (node * 7 + number) % DIFFERENT;
        let name = format!("registry.example.org/team/service-{image_of}:1.0");
        put(Held::new(Kind::Images, "k8s.io", &name).expect("as it was made"), &image(image_of))
    });
    containers.chain(images).collect()
}

async fn all(views: &Views, kind: Kind) -> usize {
    let (mut count, mut token) = (0, String::new());
    loop {
        let page =
            views.list(kind, &Default::default(), 5000, &token).await.expect("as it was made");
        count += page.items.len();
        match page.next {
            Some(next) => token = next,
            None => return count,
        }
    }
}

/// What is allocated once nothing more comes and goes.
async fn settled() -> usize {
    let mut least = usize::MAX;
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        least = least.min(LIVE.load(Ordering::Relaxed));
    }
    least
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_nodes_take_less_than_sixty_megabytes() {
    let etcd = tokio::task::spawn_blocking(Etcd::start).await.unwrap().unwrap();
    let layout = Layout::new(&"c".parse().unwrap());
    let connection = etcd::Settings {
        endpoints: etcd.endpoints(),
        probe: layout.of_kind(Kind::Nodes),
        ..etcd::Settings::default()
    };
    let writer = etcd::Etcd::connect(&connection).await.unwrap();
    for node in 0..NODES {
        let never = If::Absent("/never".into());
        writer.write(&never, holdings(&layout, node)).await.unwrap();
    }
    let mut settings = Settings::new(connection, layout);
    settings.wait = Duration::from_secs(120);
    settings.linger = Duration::from_secs(1);
    let views = Views::new(settings, Tasks::new());

    let before = settled().await;
    let mut readers = Vec::new();
    for (kind, count, most) in
        [(Kind::Containers, NODES * CONTAINERS, 600), (Kind::Images, NODES * IMAGES, 220)]
    {
        let without = settled().await;
        readers.push(views.watch(kind, Default::default(), 0).await.unwrap());
        assert_eq!(all(&views, kind).await, count);
        let kept = views.kept();
        let kept = kept.iter().find(|kept| kept.kind == kind).unwrap();
        assert_eq!((kept.objects, kept.worth.unshown), (count, 0));
        let each = settled().await.saturating_sub(without) / count;
        println!("{}: {each} bytes for each object", kind.name());
        assert!(each < most, "{}: {each} bytes", kind.name());
    }
    let all = settled().await.saturating_sub(before);
    println!("{all} bytes for all");
    assert!(all < 60 << 20, "{all} bytes");
    drop((writer, etcd, readers));
    let begun = Instant::now();
    while !views.kept().is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(60));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let left = settled().await.saturating_sub(before);
    println!("{left} bytes are left");
    assert!(left < 2 << 20, "{left} bytes are left");
}
