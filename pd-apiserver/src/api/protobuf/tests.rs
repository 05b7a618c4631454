use proptest::prelude::*;

use super::*;

/// A length-delimited field with a number below 16, of fewer than 128 bytes.
fn part(number: u8, bytes: &[u8]) -> Vec<u8> {
    let length = u8::try_from(bytes.len()).expect("a short field");
    assert!(length < 128, "one byte of length is enough for these tests");
    [&[number << 3 | 2, length][..], bytes].concat()
}

fn body(api_version: &str, kind: &str, object: &[u8]) -> Vec<u8> {
    let type_meta = [part(1, api_version.as_bytes()), part(2, kind.as_bytes())].concat();
    [MAGIC.to_vec(), part(1, &type_meta), part(2, object), part(3, b""), part(4, b"")].concat()
}

#[test]
fn a_config_map_keeps_its_texts_and_its_bytes() {
    let metadata =
        [part(1, b"c"), part(3, b"default"), part(8, b""), part(11, &[part(1, b"a"), part(2, b"1")].concat())];
    let data = [part(1, b"key"), part(2, b"value")].concat();
    let binary = [part(1, b"raw"), part(2, &[0, 255])].concat();
    let object = [part(1, &metadata.concat()), part(2, &data), part(3, &binary), vec![4 << 3, 0]].concat();
    assert_eq!(
        decode(&body("v1", "ConfigMap", &object)).expect("an object"),
        json!({
            "metadata": {"name": "c", "namespace": "default", "labels": {"a": "1"}},
            "data": {"key": "value"}, "binaryData": {"raw": "AP8="}, "immutable": false,
            "apiVersion": "v1", "kind": "ConfigMap",
        })
    );
}

#[test]
fn delete_options_keep_a_grace_period_of_zero() {
    let object = [vec![1 << 3, 0], part(4, b"Background"), part(5, b"All")].concat();
    let options = decode(&body("v1", "DeleteOptions", &object)).expect("options");
    assert_eq!(options["gracePeriodSeconds"], 0);
    assert_eq!(options["dryRun"], json!(["All"]));
    assert_eq!(options.get("orphanDependents"), None);
}

#[test]
fn times_and_quantities_read_as_in_json() {
    // 2026-01-01T00:00:00Z, and 5 microseconds after.
    let seconds = [8, 0x80, 0xf2, 0xd6, 0xca, 6];
    let micro = [&seconds[..], &[16, 0x88, 0x27]].concat();
    let lease = part(2, &[part(4, &micro), vec![2 << 3, 5]].concat());
    let lease = decode(&body("coordination.k8s.io/v1", "Lease", &lease)).expect("a lease");
    assert_eq!(lease["spec"], json!({"renewTime": "2026-01-01T00:00:00.000005Z", "leaseDurationSeconds": 5}));
    let capacity = [part(1, b"cpu"), part(2, &part(1, b"4"))].concat();
    let unschedulable = part(2, &[4 << 3, 1]);
    let status = part(3, &[part(1, &capacity), part(4, &[part(1, b"Ready"), part(3, &seconds)].concat())].concat());
    let node = decode(&body("v1", "Node", &[unschedulable, status].concat())).expect("a node");
    assert_eq!(node["spec"]["unschedulable"], true);
    assert_eq!(node["status"]["capacity"]["cpu"], "4");
    assert_eq!(node["status"]["conditions"][0]["lastHeartbeatTime"], "2026-01-01T00:00:00Z");
}

#[test]
fn reviews_name_what_they_ask() {
    let attributes = [part(2, b"create"), part(3, b"processdistro.dev"), part(5, b"jobs")].concat();
    let review = decode(&body(
        "authorization.k8s.io/v1",
        "SelfSubjectAccessReview",
        &[part(1, b""), part(2, &part(1, &attributes))].concat(),
    ));
    let wanted = json!({"resourceAttributes": {"verb": "create", "group": "processdistro.dev", "resource": "jobs"}});
    assert_eq!(review.expect("a review")["spec"], wanted);
}

#[test]
fn what_cannot_be_read_is_refused_with_its_reason() {
    let refused = |bytes: &[u8]| decode(bytes).expect_err("no object");
    assert!(matches!(refused(b"{}"), ApiError::BadRequest(_)));
    assert!(matches!(refused(&body("v1", "Gadget", b"")), ApiError::UnsupportedMediaType(_)));
    assert!(matches!(refused(&body("processdistro.dev/v1", "Job", b"")), ApiError::UnsupportedMediaType(_)));
    let text = refused(&body("v1", "Namespace", &[10, 9, 1])).to_string();
    assert_eq!(text, "the object provided is unrecognized: proto: a field is longer than its message");
}

proptest! {
    #[test]
    fn no_bytes_break_the_decoder(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        let _ = decode(&[MAGIC, &bytes].concat());
        let _ = decode(&body("v1", "Node", &bytes));
        let _ = decode(&body("v1", "Event", &bytes));
    }
}
