"""Renders the chart by Helm's own code for the cases that it is for, and holds what comes out against the schemas of Kubernetes
and against what matters to trawl; then holds that wrong values are refused by name. Ends with its totals.

    deploy/helm/check.sh    # finds Helm and the schemas, and runs this
"""

import base64
import json
import os
import pathlib
import re
import subprocess
import sys

import jsonschema
import kube_schemas
from helm_python.chart import Chart, lint
from helm_python.errors import HelmError
from ruamel.yaml import YAML

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy/helm/trawl"
BINARIES = pathlib.Path(os.environ.get("TRAWL_BIN", ROOT / "target/release"))
NAMESPACE = "lab"
# Memory that the programs take at most, in MiB.
COORDINATOR_MIB = 1618
WORKER_MIB = 1280
IS_CUSTOM = ("keda.sh/", "postgresql.cnpg.io/", "cert-manager.io/", "monitoring.coreos.com/")

DATABASE = {"database": {"existingSecret": {"name": "postgres"}}}
S3 = {"artifacts": {"kind": "s3", "s3": {"url": "s3://results/trawl", "region": "eu-central-1", "existingSecret": "bucket"}}}
SCALED = {"autoscaling": {"readerSecret": {"name": "reader"}}, "workers": {"cpu": {"autoscaling": {"enabled": True}}}}
PRIVATE = {"database": {"existingSecret": {"name": "postgres", "caKey": "ca.crt"}}}
CLOUDNATIVEPG = {"database": {"cloudnativepg": {"enabled": True}}}
COLLECTOR = {
    "to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}],
    "ports": [{"port": 4317, "protocol": "TCP"}],
}
PROMETHEUS = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}

# Name of a case → values.
CASES = {
    "defaults": DATABASE,
    "gpu": DATABASE | {"workers": {"gpu": {"enabled": True}, "cpu": {"enabled": False}}},
    "a pool of one's own": DATABASE
    | {"workers": {"a100": {"replicas": 3, "slots": 8, "device": "cuda:0", "gpu": {"enabled": True, "resource": "nvidia.com/mig-1g.10gb"}}}},
    "a database of a private authority": PRIVATE,
    "cloudnativepg": CLOUDNATIVEPG,
    "cloudnativepg with a reader's secret of one's own, and keda": {
        "database": {"cloudnativepg": {"enabled": True, "readerSecret": "people"}},
        "workers": {"cpu": {"autoscaling": {"enabled": True}}},
    },
    "tls from a secret": DATABASE | {"tls": {"mode": "existingSecret", "existingSecret": "cert", "serverName": "trawl.example.org"}},
    "tls of a public authority": DATABASE | {"tls": {"mode": "existingSecret", "existingSecret": "cert", "publicAuthority": True}},
    "tls from cert-manager": DATABASE | {"tls": {"mode": "certManager", "certManager": {"issuerRef": {"name": "ca"}}}},
    "tls off": DATABASE | {"tls": {"mode": "off"}},
    "keda": DATABASE | SCALED,
    "several coordinators on s3": DATABASE | S3 | {"coordinator": {"replicas": 3}},
    "several coordinators on a shared volume": DATABASE
    | {"coordinator": {"replicas": 2}, "artifacts": {"volume": {"existingClaim": "nfs", "accessMode": "ReadWriteMany"}}},
    "watched": DATABASE
    | {
        "fullnameOverride": "search",
        "networkPolicy": {
            "monitoring": [PROMETHEUS],
            "clients": [{"podSelector": {"matchLabels": {"team": "lab"}}}],
            "workerEgress": [COLLECTOR],
        },
        "metrics": {
            "serviceMonitor": {"enabled": True, "tokenSecret": {"name": "prometheus"}},
            "rules": {"enabled": True},
            "dashboard": {"enabled": True},
        },
        "tracing": {"otlpEndpoint": "http://collector.monitoring:4317"},
    },
    "secrets of one's own": DATABASE | {"tokens": {"existingSecret": "mine"}, "datasets": {"existingClaim": "data"}},
}

# Values that are refused → the field that the refusal names.
REFUSED = [
    ({}, "database.existingSecret.name"),
    (DATABASE | {"coordinator": {"replicas": 2}}, "coordinator.replicas"),
    (DATABASE | {"coordinator": {"replicas": 0}}, "coordinator"),
    (DATABASE | {"coordinator": {"replcas": 2}}, "replcas"),
    (DATABASE | {"artifacts": {"kind": "s3"}}, "artifacts.s3.url"),
    (DATABASE | {"artifacts": {"kind": "ftp"}}, "kind"),
    (DATABASE | {"tls": {"mode": "existingSecret"}}, "tls.existingSecret"),
    (DATABASE | {"tls": {"mode": "certManager"}}, "tls.certManager.issuerRef.name"),
    (DATABASE | {"tls": {"mode": False}}, "mode"),
    (DATABASE | {"database": {"existingSecret": {"name": "x"}, "cloudnativepg": {"enabled": True}}}, "database"),
    (DATABASE | {"workers": {"cpu": {"autoscaling": {"enabled": True}}}}, "autoscaling.readerSecret.name"),
    (DATABASE | {"workers": {"gpu": {"enabled": True, "device": "cpu"}}}, "workers.gpu.device"),
    (DATABASE | {"workers": {"cpu": {"device": "cuda:0"}}}, "workers.cpu.gpu.enabled"),
    (DATABASE | {"workers": {"cpu": {"device": "tpu"}}}, "device"),
    (DATABASE | {"workers": {"cpu": {"slots": 65}}}, "slots"),
    (DATABASE | {"workers": {"Big_Pool": {}}}, "workers.Big_Pool"),
    (DATABASE | {"workers": {"cpu": {"terminationGracePeriodSeconds": 5}}}, "terminationGracePeriodSeconds"),
    (DATABASE | {"metrics": {"serviceMonitor": {"enabled": True}}}, "metrics.serviceMonitor.tokenSecret.name"),
    (DATABASE | {"metrics": {"serviceMonitor": {"enabled": True, "tokenSecret": {"name": "x"}}}}, "networkPolicy.monitoring"),
    (DATABASE | {"tracing": {"otlpEndpoint": "http://collector:4317"}}, "networkPolicy.workerEgress"),
    ({"database": {"existingSecret": {"caKey": "x"}, "cloudnativepg": {"enabled": True}}}, "database.existingSecret.caKey"),
    ({"database": {"existingSecret": {"name": "x"}, "cloudnativepg": {"readerSecret": "x"}}}, "database.cloudnativepg.readerSecret"),
    (DATABASE | {"database": {"url": "postgres://u:p@h/d"}}, "url"),
]

passed, failures = 0, []


def check(holds, what):
    """Counts something that has to hold."""
    global passed
    if holds:
        passed += 1
    else:
        failures.append(what)


def documents(values):
    """All objects that the chart makes of these values, and its notes."""
    yaml = YAML(typ="safe", pure=True)
    objects, notes = [], ""
    with Chart.load(CHART) as chart:
        chart.validate_schema(values)
        for path, text in chart.render(values=values, name="search", namespace=NAMESPACE).items():
            if path.endswith("NOTES.txt"):
                notes = text
            else:
                objects += [document for document in yaml.load_all(text) if document]
    return objects, notes


def pods(objects):
    """Kind/name, template and selector of whatever runs pods."""
    for each in objects:
        if each["kind"] in ("Deployment", "StatefulSet"):
            yield f"{each['kind']}/{each['metadata']['name']}", each["spec"]["template"], each["spec"]["selector"]["matchLabels"]


def of_kind(objects, kind):
    return [each for each in objects if each["kind"] == kind]


def fits(selector, labels):
    return selector.items() <= labels.items()


def check_pod(case, name, template):
    """Nothing runs as root or with rights that it needs not, and no secret is in arguments or variables."""
    spec = template["spec"]
    at = f"{case}: {name}"
    check(spec["automountServiceAccountToken"] is False, f"{at}: mounts the token of its service account")
    check(spec["securityContext"]["runAsNonRoot"] is True and spec["securityContext"]["runAsUser"] == 10001, f"{at}: user")
    check(spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, f"{at}: seccomp")
    check(not any(spec.get(key) for key in ("hostNetwork", "hostPID", "hostIPC")), f"{at}: is on the host")
    check(all("hostPath" not in volume for volume in spec["volumes"]), f"{at}: mounts the host")
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    for volume in volumes.values():
        if "secret" in volume:
            check(volume["secret"]["defaultMode"] == 0o440, f"{at}: mode of {volume['name']}")
            check(volume["secret"].get("items"), f"{at}: mounts all of a secret")
    for container in spec["containers"]:
        security = container["securityContext"]
        check(security["allowPrivilegeEscalation"] is False, f"{at}: privilege escalation")
        check(security["readOnlyRootFilesystem"] is True, f"{at}: its root file system is writable")
        check(security["capabilities"] == {"drop": ["ALL"]}, f"{at}: capabilities")
        check(security["runAsNonRoot"] is True and not security.get("privileged"), f"{at}: runs as root")
        check("latest" not in container["image"] and ":" in container["image"], f"{at}: image {container['image']}")
        check("args" not in container and "command" not in container, f"{at}: arguments, which others see")
        check(container["resources"]["requests"] and container["resources"]["limits"]["memory"], f"{at}: resources")
        check({"startupProbe", "livenessProbe"} <= container.keys(), f"{at}: probes")
        env = {one["name"]: one.get("value") for one in container.get("env", [])}
        check(len(env) == len(container["env"]), f"{at}: a variable is named twice")
        secret = [key for key in env if re.search("TOKEN|PASSWORD|SECRET|DATABASE_URL|ACCESS_KEY", key) and not key.endswith("_FILE")]
        check(not secret, f"{at}: {secret} stand in the pod")
        mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
        check("/tmp" in mounts and set(mounts.values()) == set(volumes), f"{at}: mounts {mounts} of {sorted(volumes)}")
        for key, value in env.items():
            if str(value).startswith("/etc/trawl/"):
                folder, file = value.rsplit("/", 1)
                items = volumes[mounts[folder]]["secret"]["items"] if folder in mounts else []
                check(file in [item["path"] for item in items], f"{at}: {key} names {value}, which is not mounted")


def check_case(case, objects):
    """What holds whatever the values."""
    names = [(each["kind"], each["metadata"]["name"]) for each in objects]
    check(len(names) == len(set(names)), f"{case}: an object twice")
    templates = list(pods(objects))
    for name, template, selector in templates:
        labels = template["metadata"]["labels"]
        check(fits(selector, labels), f"{case}: {name}: the selector misses its own pods")
        check(sum(fits(selector, other["metadata"]["labels"]) for _, other, _ in templates) == 1, f"{case}: {name}: selects others' pods")
        check_pod(case, name, template)
        budgets = [b for b in of_kind(objects, "PodDisruptionBudget") if fits(b["spec"]["selector"]["matchLabels"], labels)]
        check(len(budgets) == 1 and "minAvailable" not in budgets[0]["spec"], f"{case}: {name}: disruption budgets")
        policies = [p for p in of_kind(objects, "NetworkPolicy") if fits(p["spec"]["podSelector"]["matchLabels"], labels)]
        check(len(policies) == 1, f"{case}: {name}: network policies")
    coordinator = next(template for name, template, _ in templates if name.startswith("StatefulSet/"))
    ports = {port["name"]: port["containerPort"] for port in coordinator["spec"]["containers"][0]["ports"]}
    check(ports == {"grpc": 50051, "http": 8080}, f"{case}: ports {ports}")
    for service in of_kind(objects, "Service"):
        check({port["targetPort"] for port in service["spec"]["ports"]} == set(ports), f"{case}: ports of a service")
        check(fits(service["spec"]["selector"], coordinator["metadata"]["labels"]), f"{case}: a service without pods")
        for name, template, _ in templates:
            if name.startswith("Deployment/"):
                check(not fits(service["spec"]["selector"], template["metadata"]["labels"]), f"{case}: a service takes workers in")
    check_policies(case, objects)
    # In NOTES, logs of an install and labels there is no secret.
    secrets = [value for each in of_kind(objects, "Secret") for value in each["data"].values()]
    rest = json.dumps([each for each in objects if each["kind"] != "Secret"])
    check(not any(value in rest for value in secrets), f"{case}: a secret's value outside of it")


def check_policies(case, objects):
    """Who may come in: workers by gRPC, and nobody else unless named; nobody to workers, which go out to coordinators alone."""
    policies = {each["metadata"]["name"].rsplit("-", 1)[1]: each["spec"] for each in of_kind(objects, "NetworkPolicy")}
    named = CASES[case].get("networkPolicy", {})
    rules = policies["coordinator"]["ingress"]
    check(all(rule.get("from") and rule.get("ports") for rule in rules), f"{case}: a rule that admits everybody")
    check([port["port"] for port in rules[0]["ports"]] == ["grpc"], f"{case}: workers reach more than gRPC")
    peers = [peer for rule in rules[1:] for peer in rule["from"]]
    check(peers == named.get("clients", []) + named.get("monitoring", []), f"{case}: admits {peers}")
    worker = policies["worker"]
    check(worker["policyTypes"] == ["Ingress", "Egress"] and not worker["ingress"], f"{case}: who may call a worker")
    beyond_dns = [rule for rule in worker["egress"] if {port["port"] for port in rule["ports"]} != {53}]
    check(beyond_dns[0]["to"][0]["podSelector"] and beyond_dns[1:] == named.get("workerEgress", []), f"{case}: where a worker may call")


def check_schemas(case, objects):
    """Every document against the schemas of the oldest and the newest Kubernetes that the chart is for."""
    for each in objects:
        at = f"{case}: {each['kind']}/{each['metadata']['name']}"
        if each["apiVersion"].startswith(IS_CUSTOM):
            check(each["spec"], f"{at}: no spec")
            continue
        for version in kube_schemas.VERSIONS:
            try:
                kube_schemas.validate(each, version)
                check(True, "")
            except jsonschema.ValidationError as error:
                check(False, f"{at}: Kubernetes {version}: {'.'.join(map(str, error.absolute_path))}: {error.message}")


def env_of(objects, kind):
    template = next(template for name, template, _ in pods(objects) if name.startswith(kind))
    return {one["name"]: one["value"] for one in template["spec"]["containers"][0]["env"]}


def check_particulars(rendered):
    """What the cases are there for, the shape of other projects' resources among it."""
    host = f"search-trawl.{NAMESPACE}.svc:50051"
    check(env_of(rendered["defaults"], "Deployment")["TRAWL_COORDINATOR"] == f"https://{host}", "one coordinator: its URL")
    urls = env_of(rendered["several coordinators on s3"], "Deployment")["TRAWL_COORDINATOR"].split(",")
    names = [f"https://search-trawl-coordinator-{n}.search-trawl-coordinators.{NAMESPACE}.svc:50051" for n in range(3)]
    check(urls == [f"https://{host}", *names], f"several coordinators: {urls}")
    stateful = of_kind(rendered["several coordinators on s3"], "StatefulSet")[0]
    check(stateful["spec"]["serviceName"] == "search-trawl-coordinators" and stateful["metadata"]["name"] == "search-trawl-coordinator", "names")
    env = env_of(rendered["several coordinators on s3"], "StatefulSet")
    check(env["TRAWL_ARTIFACTS"] == "s3://results/trawl" and env["AWS_REGION"] == "eu-central-1", "S3")
    check(not of_kind(rendered["several coordinators on s3"], "PersistentVolumeClaim"), "S3: a volume too")
    check("TRAWL_INSECURE" not in env and "TRAWL_INSECURE" in env_of(rendered["tls off"], "StatefulSet"), "insecure without being told")
    check(env_of(rendered["tls off"], "Deployment")["TRAWL_COORDINATOR"] == f"http://{host}", "TLS off: the URL")
    insecure = {name: env_of(rendered[name], "Deployment").get("TRAWL_INSECURE") for name in ["tls off", "tls from a secret"]}
    check(insecure == {"tls off": "true", "tls from a secret": None}, "workers send tokens in the clear without being told")
    check(env_of(rendered["tls from a secret"], "Deployment")["TRAWL_TLS_SERVER_NAME"] == "trawl.example.org", "TLS: the name")
    check("TRAWL_TLS_CA" not in env_of(rendered["tls of a public authority"], "Deployment"), "TLS: a public authority")
    check(not [s for s in of_kind(rendered["tls from a secret"], "Secret") if s["metadata"]["name"].endswith("-tls")], "TLS: a second secret")

    gpu = of_kind(rendered["gpu"], "Deployment")
    container = gpu[0]["spec"]["template"]["spec"]["containers"][0]
    check(len(gpu) == 1 and container["resources"]["limits"]["nvidia.com/gpu"] == 1, "GPU: limits")
    check(container["image"].endswith("-cuda") and env_of(gpu, "Deployment")["TRAWL_DEVICE"] == "cuda:0", "GPU: image and device")
    check(gpu[0]["spec"]["strategy"]["rollingUpdate"]["maxSurge"] == 0, "GPU: an update needs a second GPU")
    own = [d for d in of_kind(rendered["a pool of one's own"], "Deployment") if d["metadata"]["name"].endswith("-a100")][0]
    container = own["spec"]["template"]["spec"]["containers"][0]
    check(container["resources"]["limits"]["nvidia.com/mig-1g.10gb"] == 1 and own["spec"]["replicas"] == 3, "a pool of one's own")
    check(container["resources"]["requests"]["memory"] == "1Gi", "a pool of one's own: what it does not say")
    # Twelve seconds for jobs and the goodbye, and as much again.
    for name, template, _ in pods(rendered["defaults"]):
        check(template["spec"]["terminationGracePeriodSeconds"] >= 24, f"{name}: too little time to drain")

    private = rendered["a database of a private authority"]
    check(env_of(private, "StatefulSet")["PGSSLROOTCERT"] == "/etc/trawl/database/ca.crt", "a private authority")
    check("PGSSLROOTCERT" not in env_of(rendered["defaults"], "StatefulSet"), "a private authority that nobody named")
    cluster = of_kind(rendered["cloudnativepg"], "Cluster")[0]
    check(cluster["apiVersion"] == "postgresql.cnpg.io/v1" and cluster["spec"]["bootstrap"]["initdb"]["owner"] == "trawl", "CloudNativePG")
    check(cluster["spec"]["storage"]["size"] and cluster["spec"]["instances"] == 2, "CloudNativePG: size")
    volume = next(v for v in of_kind(rendered["cloudnativepg"], "StatefulSet")[0]["spec"]["template"]["spec"]["volumes"] if v["name"] == "database")
    check(volume["secret"]["secretName"] == cluster["metadata"]["name"] + "-app", "CloudNativePG: the secret of its application")
    check(volume["secret"]["items"] == [{"key": "uri", "path": "uri"}], "CloudNativePG: the key")
    check_roles(rendered, cluster)

    scaled = of_kind(rendered["keda"], "ScaledObject")[0]
    deployment = of_kind(rendered["keda"], "Deployment")[0]
    check(scaled["apiVersion"] == "keda.sh/v1alpha1" and scaled["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"], "KEDA")
    check("replicas" not in deployment["spec"], "KEDA: two decide on the number of workers")
    trigger = scaled["spec"]["triggers"][0]
    check(trigger["type"] == "postgresql" and all(isinstance(v, str) for v in trigger["metadata"].values()), "KEDA: trigger")
    check("FROM trawl.studies" in trigger["metadata"]["query"] and "trawl_store" not in trigger["metadata"]["query"], "KEDA: query")
    authentication = of_kind(rendered["keda"], "TriggerAuthentication")[0]
    check(trigger["authenticationRef"]["name"] == authentication["metadata"]["name"], "KEDA: authentication")
    check(authentication["spec"]["secretTargetRef"] == [{"parameter": "connection", "name": "reader", "key": "uri"}], "KEDA: secret")

    certificate = of_kind(rendered["tls from cert-manager"], "Certificate")[0]["spec"]
    check(certificate["secretName"] == "search-trawl-tls" and certificate["issuerRef"]["name"] == "ca", "cert-manager")
    check(f"*.search-trawl-coordinators.{NAMESPACE}.svc" in certificate["dnsNames"], "cert-manager: names")
    generated = next(s for s in of_kind(rendered["defaults"], "Secret") if s["type"] == "kubernetes.io/tls")
    check({"ca.crt", "tls.crt", "tls.key"} == generated["data"].keys(), "TLS: the generated secret")
    names = "trawl/dns-names-sha256"
    others, _ = documents(DATABASE | {"tls": {"dnsNames": ["trawl.example.org"]}})
    other = next(s for s in of_kind(others, "Secret") if s["type"] == "kubernetes.io/tls")
    check(generated["metadata"]["annotations"][names] != other["metadata"]["annotations"][names], "TLS: other names, and the old secret")
    for name, template, _ in pods(others):
        annotations = template["metadata"]["annotations"]
        check(annotations[names] == other["metadata"]["annotations"][names], f"TLS: other names, and {name} is not restarted")
    for name, template, _ in pods(rendered["tls off"]):
        check("annotations" not in template["metadata"], f"TLS off: {name} has annotations of TLS")

    monitor = of_kind(rendered["watched"], "ServiceMonitor")[0]["spec"]
    services = [s for s in of_kind(rendered["watched"], "Service") if fits(monitor["selector"]["matchLabels"], s["metadata"]["labels"])]
    check(len(services) == 1, "ServiceMonitor: each coordinator is scraped once")
    endpoint = monitor["endpoints"][0]
    check(endpoint["scheme"] == "https" and endpoint["authorization"]["credentials"] == {"name": "prometheus", "key": "token"}, "ServiceMonitor")
    check(endpoint["relabelings"] == [{"targetLabel": "job", "replacement": f"trawl/{NAMESPACE}/search"}], "ServiceMonitor: the job")
    check(env_of(rendered["watched"], "Deployment")["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://collector.monitoring:4317", "traces")
    groups = of_kind(rendered["watched"], "PrometheusRule")[0]["spec"]["groups"]
    check(groups and all(rule["expr"] for group in groups for rule in group["rules"]), "PrometheusRule")
    board = json.loads(of_kind(rendered["watched"], "ConfigMap")[0]["data"]["trawl.json"])
    check(board["panels"], "dashboard")
    mine = of_kind(rendered["secrets of one's own"], "Secret")
    check(not [s for s in mine if s["metadata"]["name"].endswith("-tokens")], "tokens: a second secret")


def check_roles(rendered, cluster):
    """Nobody connects as a superuser, and what a superuser does at first is what deploy/postgres/roles.sql says."""
    name = cluster["metadata"]["name"]
    check((ROOT / "deploy/postgres/roles.sql").samefile(CHART / "files/roles.sql"), "roles.sql: two of them")
    wanted = [part.strip().removesuffix(";") for part in (CHART / "files/roles.sql").read_text().split(";\n\n")]
    initdb = cluster["spec"]["bootstrap"]["initdb"]
    check(initdb["database"] == "trawl" and initdb["postInitApplicationSQL"] == ["CREATE ROLE reader LOGIN", *wanted], "roles.sql: other statements")
    check(len(wanted) > 10 and all(len(re.findall(r";$", part, re.M)) == 0 or "$$" in part for part in wanted), "roles.sql: a statement without a blank line")
    check("postInitSQL" not in initdb and cluster["spec"]["enableSuperuserAccess"] is False, "CloudNativePG: a superuser logs in")
    check(f"{name}-superuser" not in json.dumps(rendered["cloudnativepg"]), "CloudNativePG: the superuser's secret is used")
    secret = next(s for s in of_kind(rendered["cloudnativepg"], "Secret") if s["metadata"]["name"] == f"{name}-reader")
    role = {"name": "reader", "ensure": "present", "login": True, "inRoles": ["trawl_reader"], "connectionLimit": 16}
    check(cluster["spec"]["managed"]["roles"] == [role | {"passwordSecret": {"name": f"{name}-reader"}}], "CloudNativePG: the reader")
    data = {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}
    uri = f"postgres://reader:{data['password']}@{name}-rw.{NAMESPACE}.svc:5432/trawl?sslmode=require"
    check(secret["type"] == "kubernetes.io/basic-auth" and data["username"] == "reader" and data["uri"] == uri, "CloudNativePG: the reader's secret")
    check(len(data["password"]) >= 40, "CloudNativePG: the reader's password")
    own = rendered["cloudnativepg with a reader's secret of one's own, and keda"]
    check(not [s for s in of_kind(own, "Secret") if s["metadata"]["name"].endswith("-reader")], "CloudNativePG: a second secret of the reader")
    check(of_kind(own, "Cluster")[0]["spec"]["managed"]["roles"][0]["passwordSecret"] == {"name": "people"}, "CloudNativePG: a secret of one's own")
    target = of_kind(own, "TriggerAuthentication")[0]["spec"]["secretTargetRef"]
    check(target == [{"parameter": "connection", "name": "people", "key": "uri"}], "KEDA: reads as somebody else")


def mib(quantity):
    """An amount of memory as Kubernetes writes it, in MiB."""
    number, unit = re.fullmatch(r"([0-9.]+)(Mi|Gi)", quantity).groups()
    return float(number) * {"Mi": 1, "Gi": 1024}[unit]


def check_memory(rendered):
    """Limits are above what the programs take at most, as docs/reliability.md has it."""
    for name, template, _ in pods(rendered["defaults"] + rendered["gpu"]):
        for container in template["spec"]["containers"]:
            least = COORDINATOR_MIB if name.startswith("StatefulSet/") else WORKER_MIB
            check(mib(container["resources"]["limits"]["memory"]) > least, f"{name}: its limit of memory is below {least} MiB")
    check(of_kind(rendered["cloudnativepg"], "Cluster")[0]["spec"]["resources"]["limits"]["memory"], "CloudNativePG: no limit of memory")


def check_binaries(rendered):
    """Every variable that the chart sets, and every command of a probe, is one that the programs know."""
    def help_of(program, *command):
        said = subprocess.run([BINARIES / program, *command, "--help"], capture_output=True, text=True)
        return said.stdout

    if not all((BINARIES / program).exists() for program in ("trawl-coordinator", "trawl-worker")):
        print(f"skipped: the programs' flags: {BINARIES} has no binaries; make build makes them", file=sys.stderr)
        return
    for kind, program in (("StatefulSet", "trawl-coordinator"), ("Deployment", "trawl-worker")):
        known = help_of(program)
        used = {name for objects in rendered.values() for pod, template, _ in pods(objects) if pod.startswith(kind)
                for container in template["spec"]["containers"] for name in [one["name"] for one in container["env"]]}
        # Read by libraries, not by flags.
        for name in sorted(used - {"PGSSLROOTCERT", "RUST_LOG", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_SERVICE_NAME", "AWS_REGION", "AWS_ENDPOINT_URL"}):
            check(f"[env: {name}" in known, f"{program} --help knows no {name}")
    check("alive" in help_of("trawl-worker", "alive"), "trawl-worker has no command alive, which probes run")


def check_refusals():
    for values, field in REFUSED:
        try:
            documents(values)
            check(False, f"{json.dumps(values)} is not refused")
        except HelmError as error:
            check(field in str(error), f"{json.dumps(values)}: the refusal does not name {field}: {error}")


def main():
    report = lint(CHART, DATABASE, strict=True)
    check(not report["errors"] and all(m["severity"] < 2 for m in report["messages"]), f"lint: {report}")
    rendered = {}
    for case, values in CASES.items():
        objects, notes = documents(values)
        rendered[case] = objects
        check("trawl submit" in notes, f"{case}: notes")
        check_schemas(case, objects)
        check_case(case, objects)
    check_particulars(rendered)
    check_memory(rendered)
    check_refusals()
    check_binaries(rendered)
    for failure in failures:
        print(f"FAILED: {failure}", file=sys.stderr)
    print(f"helm: {passed} passed, {len(failures)} failed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
