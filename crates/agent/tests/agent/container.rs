//! A worker that is a container, as far as that goes without an engine: its start is told, and so is its end.

use runyard_domain::image::{Container, Image};
use runyard_runtime::{ImageSpec, Runtime as _, Stop};

use crate::harness::Harness;

fn spec(h: &Harness, id: &str) -> runyard_runtime::WorkerSpec {
    let image = Image {
        name: "w:1".into(),
        id: "sha256:00".into(),
        digest: None,
        engine: "unix:///nowhere/docker.sock".into(),
        registry: None,
        entrypoint: None,
        command: None,
    };
    let image = ImageSpec { image, container: Container::default(), gpus: Vec::new(), login: None };
    runyard_runtime::WorkerSpec { image: Some(image), ..h.spec(id, &[]) }
}

#[tokio::test]
async fn without_an_engine_its_end_says_so() {
    let h = Harness::new().await;
    assert_eq!(h.start(spec(&h, "w1")).await, 0);
    let exit = h.exit("w1").await;
    assert_eq!(exit.fault.as_ref().map(|fault| fault.code()), Some("engine_away"));
    let seen = h.observed("w1").await.unwrap();
    assert_eq!((seen.pid, seen.phase), (0, None));
    assert!(h.records().iter().any(|record| record.message.contains("/nowhere/docker.sock")));
    h.runtime.stop(&seen.id, Stop::Kill).await.unwrap();
    h.runtime.forget(&seen.id).await.unwrap();
    assert!(h.observed("w1").await.is_none());
}
