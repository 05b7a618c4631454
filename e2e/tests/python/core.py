"""What scripts do with the Python client: discovery, the custom-objects and the dynamic client, typed kinds, watches.

Run with a kubeconfig in KUBECONFIG. The first thing that is not as with Kubernetes ends it.
"""

import datetime
import sys
import threading

from kubernetes import client, config, dynamic, watch
from kubernetes.client import ApiException
from kubernetes.dynamic.exceptions import ConflictError, DynamicApiError, NotFoundError, UnprocessibleEntityError

GROUP, VERSION, NAMESPACE = "processdistro.dev", "v1", "default"
API_VERSION = f"{GROUP}/{VERSION}"
checks = 0


def check(condition, what):
    global checks
    checks += 1
    if not condition:
        sys.exit(f"not so: {what}")


def refused(code, call, *arguments, **options):
    """The error that `call` answers, which must have this code."""
    try:
        answer = call(*arguments, **options)
    except (ApiException, DynamicApiError) as error:
        check(error.status == code, f"{call}: {error.status} instead of {code}: {error.body}")
        return error
    sys.exit(f"{call}: {code} was expected, and it answered {answer}")


def source(name, folder="/srv", **metadata):
    return {
        "apiVersion": API_VERSION,
        "kind": "ManifestSource",
        "metadata": {"name": name, **metadata},
        "spec": {"folder": folder},
    }


def version_and_discovery():
    # This client asks for `/version/`.
    check(client.VersionApi().get_code().major == "1", "the server's version")
    groups = [group.name for group in client.ApisApi().get_api_versions().groups]
    check(groups[0] == GROUP, f"our group comes first: {groups}")
    check("v1" in client.CoreApi().get_api_versions().versions, "the core version")
    names = [resource.name for resource in client.CustomObjectsApi().get_api_resources(GROUP, VERSION).resources]
    check("jobs" in names and "jobs/status" in names and "jobs/scale" in names, f"resources: {names}")


def custom_objects():
    api = client.CustomObjectsApi()
    here = (GROUP, VERSION, NAMESPACE, "manifestsources")

    made = api.create_namespaced_custom_object(*here, source("one", labels={"app": "python"}))
    check(made["metadata"]["uid"] and made["metadata"]["generation"] == 1, "what the server sets")
    check(made["metadata"]["resourceVersion"], "a version")
    refused(409, api.create_namespaced_custom_object, *here, source("one"))
    generated = api.create_namespaced_custom_object(*here, {**source("x"), "metadata": {"generateName": "gen-"}})
    check(generated["metadata"]["name"].startswith("gen-"), "a generated name")

    for number in range(5):
        api.create_namespaced_custom_object(*here, source(f"page-{number}", labels={"app": "pages"}))
    found, token, versions = [], None, set()
    while True:
        page = api.list_namespaced_custom_object(*here, label_selector="app=pages", limit=2, _continue=token)
        check(page["kind"] == "ManifestSourceList", "the list's kind")
        found += [item["metadata"]["name"] for item in page["items"]]
        versions.add(page["metadata"]["resourceVersion"])
        token = page["metadata"].get("continue")
        if not token:
            break
    check(found == [f"page-{number}" for number in range(5)], f"the pages: {found}")
    check(len(versions) == 1, f"all pages show one state: {versions}")
    everywhere = api.list_cluster_custom_object(GROUP, VERSION, "manifestsources", field_selector="metadata.name=one")
    check([item["kind"] for item in everywhere["items"]] == ["ManifestSource"], "items say their kind")
    refused(400, api.list_namespaced_custom_object, *here, field_selector="spec.color=red")

    patched = api.patch_namespaced_custom_object(*here, "one", {"spec": {"folder": "/other"}})
    check(patched["spec"]["folder"] == "/other" and patched["metadata"]["generation"] == 2, "a merge patch")
    same = api.patch_namespaced_custom_object(*here, "one", {"spec": {"folder": "/other"}})
    check(same["metadata"]["resourceVersion"] == patched["metadata"]["resourceVersion"], "nothing changed: no version")
    # A JSON patch goes out under the type of a merge patch: no server can take it, and none may break on it.
    refused(400, api.patch_namespaced_custom_object, *here, "one", [{"op": "remove", "path": "/spec/folder"}])

    status = {"status": {"objects": 7, "conditions": []}}
    shown = api.patch_namespaced_custom_object_status(*here, "one", status)
    check(shown["status"]["objects"] == 7 and shown["metadata"]["generation"] == 2, "a patch of the status")
    main = api.patch_namespaced_custom_object(*here, "one", {"status": {"objects": 9}})
    check(main["status"]["objects"] == 7, "the main endpoint leaves the status alone")
    check(api.get_namespaced_custom_object_status(*here, "one")["status"]["objects"] == 7, "the status is read")

    stale = dict(patched)
    refused(409, api.replace_namespaced_custom_object, *here, "one", stale)
    fresh = api.get_namespaced_custom_object(*here, "one")
    fresh["spec"]["prune"] = True
    check(api.replace_namespaced_custom_object(*here, "one", fresh)["spec"]["prune"], "a replace")
    wrong = refused(422, api.create_namespaced_custom_object, *here, {**source("Wrong_name"), "spec": {}})
    check('"causes"' in wrong.body and "spec.folder" in wrong.body, f"all faults at once: {wrong.body}")

    # The options of a delete come as a query here, with no body.
    dry = api.delete_namespaced_custom_object(*here, "one", dry_run="All")
    check(dry["status"] == "Success", f"a dry run: {dry}")
    gone = api.delete_namespaced_custom_object(*here, "one", propagation_policy="Background", grace_period_seconds=0)
    check(gone["details"]["name"] == "one", f"a delete: {gone}")
    refused(404, api.get_namespaced_custom_object, *here, "one")
    api.delete_collection_namespaced_custom_object(*here, label_selector="app=pages")
    left = api.list_namespaced_custom_object(*here, label_selector="app=pages")
    check(left["items"] == [], "a collection is deleted")


def scale():
    api = client.CustomObjectsApi()
    here = (GROUP, VERSION, NAMESPACE, "jobs")
    job = {
        "apiVersion": API_VERSION,
        "kind": "Job",
        "metadata": {"name": "scaled"},
        "spec": {"suspend": True, "parallelism": 2, "task": {"name": "noop", "params": {"count": 1}}},
    }
    api.create_namespaced_custom_object(*here, job)
    check(api.get_namespaced_custom_object_scale(*here, "scaled")["spec"]["replicas"] == 2, "a scale")
    api.patch_namespaced_custom_object_scale(*here, "scaled", {"spec": {"replicas": 3}})
    check(api.get_namespaced_custom_object(*here, "scaled")["spec"]["parallelism"] == 3, "a scale is the parallelism")
    api.delete_namespaced_custom_object(*here, "scaled")


def watching():
    api = client.CustomObjectsApi()
    here = (GROUP, VERSION, NAMESPACE, "manifestsources")
    begin = api.list_namespaced_custom_object(*here)["metadata"]["resourceVersion"]

    def change():
        api.create_namespaced_custom_object(*here, source("seen"))
        api.patch_namespaced_custom_object(*here, "seen", {"spec": {"prune": True}})
        api.delete_namespaced_custom_object(*here, "seen")

    changing = threading.Thread(target=change)
    changing.start()
    stream, events = watch.Watch(), []
    for event in stream.stream(
        api.list_namespaced_custom_object, *here, resource_version=begin, timeout_seconds=30, label_selector="!none"
    ):
        events.append((event["type"], event["object"]["metadata"]["name"]))
        if event["type"] == "DELETED":
            stream.stop()
    changing.join()
    check(events == [(kind, "seen") for kind in ("ADDED", "MODIFIED", "DELETED")], f"the events: {events}")

    # Without a version the present state comes first; the server ends the watch when it was told to.
    present = [
        event["object"]["metadata"]["name"]
        for event in watch.Watch().stream(api.list_namespaced_custom_object, *here, timeout_seconds=1)
    ]
    check(present and all(name.startswith("gen-") for name in present), f"the present state: {present}")
    future = watch.Watch().stream(
        api.list_namespaced_custom_object, *here, resource_version="999999999", timeout_seconds=5
    )
    try:
        check(next(future, None) is None, "a version that has not been")
    except ApiException as error:
        check(error.status == 410, f"a version that is not there: {error}")


def dynamic_client():
    api = dynamic.DynamicClient(client.ApiClient())
    sources = api.resources.get(api_version=API_VERSION, kind="ManifestSource")
    check(sources.namespaced and "watch" in sources.verbs, "what discovery says")
    made = sources.create(body=source("dynamic"), namespace=NAMESPACE)
    check(made.spec.folder == "/srv", "a create")

    def apply(manager, force=False, **spec):
        return sources.server_side_apply(
            body={**source("dynamic"), "spec": spec},
            namespace=NAMESPACE,
            field_manager=manager,
            force_conflicts=force,
        )

    try:
        apply("python", folder="/mine")
        sys.exit("a conflict was expected")
    except ConflictError as error:
        check("FieldManagerConflict" in str(error.body), f"the cause of a conflict: {error.body}")
    check(apply("python", force=True, folder="/mine").spec.folder == "/mine", "a forced apply")
    version = sources.get(name="dynamic", namespace=NAMESPACE).metadata.resourceVersion
    again = apply("python", folder="/mine")
    check(again.metadata.resourceVersion == version, "an apply that says nothing new writes nothing")

    # The default of this client's patch is a strategic merge patch, which no custom kind has.
    refused(415, sources.patch, body={"metadata": {"name": "dynamic"}}, namespace=NAMESPACE)
    merged = sources.patch(
        name="dynamic",
        namespace=NAMESPACE,
        body={"metadata": {"labels": {"a": "b"}}},
        content_type="application/merge-patch+json",
    )
    check(merged.metadata.labels["a"] == "b", "a merge patch")
    shown = sources.status.patch(
        name="dynamic",
        namespace=NAMESPACE,
        body={"status": {"objects": 3}},
        content_type="application/merge-patch+json",
    )
    check(shown.status.objects == 3, "a status")
    seen = [event["type"] for event in sources.watch(namespace=NAMESPACE, name="dynamic", timeout=1)]
    check(seen == ["ADDED"], f"a watch of one name: {seen}")
    try:
        sources.create(body={**source("Wrong_name")}, namespace=NAMESPACE)
        sys.exit("a refusal was expected")
    except UnprocessibleEntityError:
        check(True, "an illegal name")
    sources.delete(name="dynamic", namespace=NAMESPACE)
    try:
        sources.get(name="dynamic", namespace=NAMESPACE)
        sys.exit("it should be gone")
    except NotFoundError:
        check(True, "it is gone")


def typed():
    core, coordination = client.CoreV1Api(), client.CoordinationV1Api()
    names = [namespace.metadata.name for namespace in core.list_namespace().items]
    check("default" in names, f"namespaces: {names}")
    core.create_namespaced_config_map(NAMESPACE, {"metadata": {"name": "map"}, "data": {"a": "1"}})
    # A strategic merge patch, as typed clients send it.
    core.patch_namespaced_config_map("map", NAMESPACE, {"data": {"b": "2"}})
    check(core.read_namespaced_config_map("map", NAMESPACE).data == {"a": "1", "b": "2"}, "a ConfigMap")
    core.create_namespaced_secret(NAMESPACE, client.V1Secret(metadata={"name": "key"}, string_data={"p": "x"}))
    check(core.read_namespaced_secret("key", NAMESPACE).data == {"p": "eA=="}, "a Secret")
    event = client.CoreV1Event(
        metadata=client.V1ObjectMeta(name="event"),
        involved_object=client.V1ObjectReference(kind="Job", name="x", namespace=NAMESPACE),
        reason="Tested",
        message="by Python",
        type="Normal",
    )
    core.create_namespaced_event(NAMESPACE, event)
    found = core.list_namespaced_event(NAMESPACE, field_selector="involvedObject.name=x").items
    check([event.reason for event in found] == ["Tested"], "an Event")
    check(isinstance(core.list_node().items, list), "nodes")
    check(isinstance(core.list_pod_for_all_namespaces().items, list), "pods")

    # The body says neither apiVersion nor kind.
    now = datetime.datetime.now(datetime.timezone.utc)
    lease = client.V1Lease(
        metadata=client.V1ObjectMeta(name="leader"),
        spec=client.V1LeaseSpec(holder_identity="me", lease_duration_seconds=15, renew_time=now),
    )
    held = coordination.create_namespaced_lease(NAMESPACE, lease)
    check(held.spec.renew_time == now, f"microseconds survive: {held.spec.renew_time} {now}")
    held.spec.holder_identity = "you"
    coordination.replace_namespaced_lease("leader", NAMESPACE, held)
    refused(409, coordination.replace_namespaced_lease, "leader", NAMESPACE, held)

    attributes = client.V1ResourceAttributes(verb="delete", group=GROUP, resource="jobs", namespace=NAMESPACE)
    review = client.V1SelfSubjectAccessReview(spec=client.V1SelfSubjectAccessReviewSpec(resource_attributes=attributes))
    check(client.AuthorizationV1Api().create_self_subject_access_review(review).status.allowed, "may I")
    who = client.AuthenticationV1Api().create_self_subject_review({})
    check(who.status.user_info.username == "admin", "who am I")
    core.delete_namespaced_config_map("map", NAMESPACE)
    core.delete_namespaced_secret("key", NAMESPACE)


config.load_kube_config()
for part in (version_and_discovery, custom_objects, scale, watching, dynamic_client, typed):
    before = checks
    part()
    print(f"{part.__name__}: {checks - before} checks")
