"""Google Cloud: projects with one registered key each, and log entries about them, from a seed (gcp.md 6.1)."""

import base64
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from watchdog.register import Access, Consumer, KeyEntry, KeyException
from watchdog.register_gcp import (
    GcpCustomer,
    GcpFeed,
    GcpGrant,
    GcpKey,
    GcpPrincipal,
    GcpProject,
    GcpSink,
    GcpVendor,
    GcpVendorProject,
    GcpVersion,
)
from workers.samples.chance import START, Chance
from workers.samples.interface import Made

KMS = "cloudkms.googleapis.com"
ROLE = "roles/cloudkms.cryptoKeyEncrypterDecrypter"
WATCH, WATCH_NUMBER = "vendor-watch", "900000000000"
VENDOR_DOMAIN = "vendor.example"
FILTER = 'logName:"cloudaudit.googleapis.com" AND protoPayload.serviceName="cloudkms.googleapis.com"'
_AUDIT = "type.googleapis.com/google.cloud.audit.AuditLog"
_REQUEST = "type.googleapis.com/google.cloud.kms.v1."
_PEOPLE, _OTHER_KEYS = 60, 100  # callers and keys that a stream of records has: the same few make nearly all of it


@dataclass(frozen=True, slots=True)
class Project:
    """Project number N of customer number N, with one registered key in it: every name follows from the number.

    `label` names things for people; by default it is made from the number. Data is encrypted under `version`; the
    versions before it are retired: disabled, and not in use any more.
    """

    number: int
    label: str = ""
    version: str = "1"

    @property
    def stem(self) -> str:
        """What the names of everything of this customer begin with; also the customer's id."""
        return self.label or f"gc-party-{self.number:06}"

    @property
    def id(self) -> str:
        """Id of the customer's project that holds the key."""
        return f"{self.stem}-keys"

    @property
    def project_number(self) -> str:
        """Number of that project: records of other services name it by this only."""
        return f"{700_000_000_000 + self.number}"

    @property
    def ring(self) -> str:
        """Name of the key ring."""
        return f"projects/{self.id}/locations/europe-west3/keyRings/byok"

    @property
    def key(self) -> str:
        """Name of the registered key, without a version."""
        return f"{self.ring}/cryptoKeys/{self.stem}-prod"

    @property
    def key_version(self) -> str:
        """Full name of the version in use."""
        return f"{self.key}/cryptoKeyVersions/{self.version}"

    @property
    def instance(self) -> GcpVendorProject:
        """The vendor's project that runs this customer's instance."""
        return GcpVendorProject(id=f"run-{self.stem}", number=f"{910_000_000_000 + self.number}", use="instance")

    @property
    def principals(self) -> tuple[str, str]:
        """The service agents of the instance that use the key: of its database, of its files."""
        number = self.instance.number
        return (
            f"service-{number}@gcp-sa-cloud-sql.iam.gserviceaccount.com",
            f"service-{number}@gs-project-accounts.iam.gserviceaccount.com",
        )

    @property
    def topic(self) -> str:
        """The vendor's topic that the customer's sink writes to."""
        return f"projects/{WATCH}/topics/audit-{self.stem}"

    @property
    def subscription(self) -> str:
        """The subscription that is read for this customer."""
        return f"projects/{WATCH}/subscriptions/audit-{self.stem}"

    @property
    def asset_subscription(self) -> str:
        """The subscription by which the customer's asset feed is read."""
        return f"projects/{WATCH}/subscriptions/assets-{self.stem}"

    def side(self) -> GcpCustomer:
        """Return the customer's Google Cloud section of the register."""
        database, files = self.principals
        return GcpCustomer(
            domain=f"{self.stem}.example",
            projects=[GcpProject(id=self.id, number=self.project_number)],
            sinks=[
                GcpSink(
                    name=f"projects/{self.id}/sinks/to-vendor",
                    destination=f"pubsub.googleapis.com/{self.topic}",
                    filter=FILTER,
                    writer_identity=(
                        f"serviceAccount:service-{self.project_number}@gcp-sa-logging.iam.gserviceaccount.com"
                    ),
                    scope=f"projects/{self.id}",
                )
            ],
            asset_feeds=[f"projects/{self.project_number}/feeds/to-vendor"],
            feeds=[
                GcpFeed(topic=self.topic, subscription=self.subscription),
                GcpFeed(
                    topic=f"projects/{WATCH}/topics/assets-{self.stem}", subscription=self.asset_subscription,
                    kind="assets",
                ),
            ],
            vendor_project=self.instance.id,
            principals=[
                GcpPrincipal(email=database, product="database"),
                GcpPrincipal(email=files, product="object storage"),
            ],
            data_access_logs=True,
        )  # fmt: skip

    def entry(self, exception: KeyException, *, name: str = "", consumers: Sequence[Consumer] = ()) -> KeyEntry:
        """Return the key as it stands in the register."""
        retired = [GcpVersion(version=str(one), in_use=False, state="DISABLED") for one in range(1, int(self.version))]
        members = [f"serviceAccount:{email}" for email in self.principals]
        return KeyEntry(
            key=self.key,
            cloud="gcp",
            name=name,
            exception=exception,
            access=[Access(principal=email, operations=["encrypt", "decrypt"]) for email in self.principals],
            consumers=list(consumers),
            gcp=GcpKey(
                versions=[*retired, GcpVersion(version=self.version)],
                primary=self.version,
                grants=[GcpGrant(level=self.key, role=ROLE, members=members)],
            ),
        )


def vendor(projects: Iterable[Project]) -> GcpVendor:
    """Return the vendor's Google Cloud section of the register: the project of the watch, and one for each instance."""
    return GcpVendor(
        domains=[VENDOR_DOMAIN],
        projects=[
            GcpVendorProject(id=WATCH, number=WATCH_NUMBER, use="watch"),
            *(project.instance for project in projects),
        ],
        watchdog_principal=f"watchdog@{WATCH}.iam.gserviceaccount.com",
    )


# ------------------------------------------------------------------------------------------------------------ entries


@dataclass(frozen=True, slots=True)
class _Caller:
    """Who calls, from where, with what."""

    email: str
    address: str
    agent: str


@dataclass(frozen=True, slots=True)
class _Call:
    """One call: of which service, in which log, on what."""

    service: str
    method: str
    resource: str
    log: str = "activity"


TERRAFORM = (
    "Terraform/1.9.8 (+https://www.terraform.io) Terraform-Plugin-SDK/2.33.0 terraform-provider-google/6.14.1,gzip(gfe)"
)
_GCLOUD = (
    "google-cloud-sdk gcloud/560.0.0 command/gcloud.kms.keys.versions.{verb} invocation-id/{id} environment/None "
    "interactive/True from-script/False python/3.12.8 (Linux 6.8.0),gzip(gfe)"
)
_AGENTS = (
    TERRAFORM,
    "google-api-go-client/0.5 gke-controller/1.30,gzip(gfe)",
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36,gzip(gfe)",
    "gcloud-python/2.18.2 gl-python/3.12.8 grpc/1.68.1 gax/2.24.0 gccl/2.18.2",
)
_OTHER_CALLS = (
    _Call("compute.googleapis.com", "v1.compute.instances.start", "zones/europe-west3-a/instances/{name}"),
    _Call("compute.googleapis.com", "v1.compute.instances.setLabels", "zones/europe-west3-a/instances/{name}"),
    _Call("storage.googleapis.com", "storage.objects.get", "buckets/{name}/objects/part", "data_access"),
    _Call("storage.googleapis.com", "storage.objects.create", "buckets/{name}/objects/part", "data_access"),
    _Call("storage.googleapis.com", "storage.buckets.update", "buckets/{name}"),
    _Call("bigquery.googleapis.com", "google.cloud.bigquery.v2.JobService.InsertJob", "jobs/{name}", "data_access"),
    _Call("container.googleapis.com", "google.container.v1.ClusterManager.UpdateNodePool", "clusters/{name}"),
    _Call("k8s.io", "io.k8s.core.v1.pods.create", "core/v1/namespaces/{name}/pods/web-0"),
    _Call("run.googleapis.com", "google.cloud.run.v1.Services.ReplaceService", "services/{name}"),
    _Call("secretmanager.googleapis.com", "AccessSecretVersion", "secrets/{name}/versions/1", "data_access"),
    _Call("cloudsql.googleapis.com", "cloudsql.instances.connect", "instances/{name}", "data_access"),
    _Call("iam.googleapis.com", "google.iam.admin.v1.CreateServiceAccountKey", "serviceAccounts/{name}"),
    _Call("serviceusage.googleapis.com", "google.api.serviceusage.v1.ServiceUsage.EnableService", "services/{name}"),
)
_KEY_USES = ("Encrypt", "Decrypt", "Decrypt", "Decrypt", "MacSign", "AsymmetricSign")
_KEY_READS = ("GetCryptoKey", "GetCryptoKeyVersion", "ListCryptoKeyVersions", "GetIamPolicy")
_KEY_CHANGES = ("UpdateCryptoKeyVersion", "DestroyCryptoKeyVersion", "CreateCryptoKeyVersion", "UpdateCryptoKey")


class GcpCorpus:
    """Makes log entries, and changes told by an asset feed, one after the other (see `interface.Maker`).

    The noise is that of the customer `around`: its other services and keys, and readings of its registered key.
    """

    def __init__(self, seed: int, *, start: datetime = START, around: Project = Project(0)) -> None:
        self._chance = Chance(seed, start)
        self._around = around
        self._callers = [self._new_caller(around) for _ in range(_PEOPLE)]
        self._keys = [f"{around.ring}/cryptoKeys/{self._chance.word()}-{number}" for number in range(_OTHER_KEYS)]

    def records(self, count: int) -> Iterator[Made]:
        """Yield so many entries of noise."""
        for _ in range(count):
            yield self.noise()

    def noise(self) -> Made:
        """One entry that concerns no registered key: other services, other keys, readings, and policies of others."""
        drawn = self._chance.share()
        if drawn < 0.35:
            return self._use_of_another_key()
        if drawn < 0.42:
            return self._read()
        if drawn < 0.46:
            return self._change_of_another_key()
        if drawn < 0.49:
            return self._policy_of_people()
        call = self._chance.one_of(_OTHER_CALLS)
        name = f"{self._chance.word()}-{self._chance.below(900)}"
        resource = f"projects/{self._around.id}/{call.resource}".format(name=name)
        made = self._entry(call.service, call.method, resource, log=call.log)
        told = f"Permission denied on resource {name} (or it may not exist)."
        return _refused(made, 7, told) if drawn > 0.97 else made

    def use(self, key: Project, at: datetime | None = None) -> Made:
        """A successful use of the version in use, by the service agent of the instance's database or files."""
        method = self._chance.one_of(("Decrypt", "Encrypt", "Decrypt"))
        caller = _Caller(self._chance.one_of(key.principals), "private", "")
        # Encrypt is called on the key, and answered by its primary version (gcp.md 1).
        about = key.key_version if method == "Decrypt" else key.key
        return self._of_key(method, key, about, log="data_access", at=at, caller=caller)

    def failed_use(self, key: Project, at: datetime | None = None) -> Made:
        """A use by a service agent that is refused because the version is disabled (gcp.md 4)."""
        caller = _Caller(key.principals[0], "private", "")
        made = self._of_key("Decrypt", key, key.key_version, log="data_access", at=at, caller=caller)
        told = f"{key.key_version} is not enabled, current state is: DISABLED."
        violation = {"type": "KEY_DISABLED", "subject": key.key_version, "description": told}
        details = [{"@type": "type.googleapis.com/google.rpc.PreconditionFailure", "violations": [violation]}]
        return _refused(made, 9, told, details)

    def change(
        self, method: str, key: Project, *, about: str | None = None, at: datetime | None = None,
        agent: str | None = None, **request: object,
    ) -> Made:  # fmt: skip
        """A successful call on the version in use (or on `about`) by somebody of the key's own project."""
        target = about or key.key_version
        caller = self._caller_in(key)
        if agent is not None:
            robot = f"deploy@{key.id}.iam.gserviceaccount.com"
            caller = _Caller(robot if agent == TERRAFORM else caller.email, caller.address, agent)
        made = self._of_key(method, key, target, at=at, caller=caller)
        made["protoPayload"]["request"] |= request
        return made

    def disabled(self, key: Project, at: datetime | None = None) -> Made:
        """Somebody disables the version in use."""
        return self._updated(key, at, "DISABLED")

    def enabled(self, key: Project, at: datetime | None = None) -> Made:
        """Somebody enables the version in use."""
        return self._updated(key, at, "ENABLED")

    def deletion_scheduled(self, key: Project, at: datetime | None = None) -> Made:
        """Somebody schedules the version in use for destruction; the entry does not say when (gcp.md 3.1, A3)."""
        return self.change("DestroyCryptoKeyVersion", key, at=at, agent=self._gcloud("destroy"))

    def deletion_cancelled(self, key: Project, at: datetime | None = None) -> Made:
        """Somebody restores the version; it stays disabled."""
        return self.change("RestoreCryptoKeyVersion", key, at=at, agent=self._gcloud("restore"))

    def torn_down(self, key: Project, at: datetime | None = None) -> list[Made]:
        """`terraform destroy` of the key: each version destroyed, then its rotation taken off (gcp.md 3.1, A8).

        One incident: the retired versions and the rotation mean nothing, the version in use `key_deletion_scheduled`.
        """
        versions = [f"{key.key}/cryptoKeyVersions/{one}" for one in range(1, int(key.version) + 1)]
        destroyed = [self.change("DestroyCryptoKeyVersion", key, about=one, at=at, agent=TERRAFORM) for one in versions]
        unrotated = self.change(
            "UpdateCryptoKey", key, about=key.key, at=at, agent=TERRAFORM,
            cryptoKey={"name": key.key}, updateMask="rotationPeriod,nextRotationTime",
        )  # fmt: skip
        return [*destroyed, unrotated]

    def bound(self, key: Project, members: Sequence[str], at: datetime | None = None) -> Made:
        """Somebody sets the key's policy; who of the vendor's principals is not in it has lost the key."""
        binding = {"role": ROLE, "members": [f"serviceAccount:{email}" for email in members]}
        policy = {"version": 1, "etag": self._chance.letters(12), "bindings": [binding]}
        made = self.change("SetIamPolicy", key, about=key.key, at=at, resource=key.key, policy=policy)
        made["protoPayload"]["request"]["@type"] = "type.googleapis.com/google.iam.v1.SetIamPolicyRequest"
        return made

    def asset_change(
        self, key: Project, state: str, was: str, *, at: datetime | None = None, destroy_at: datetime | None = None
    ) -> Made:
        """The asset feed tells a new state of the version in use, with the end date that no entry has (gcp.md 3.7)."""
        moment = self._chance.moment()
        written = _time(at or moment)
        # Nothing numbers such changes: only the nanosecond tells two of one moment apart.
        began = f"{written[:19]}.{self._chance.below(10**9):09}Z"
        resource: Made = {"name": key.key_version, "state": state, "protectionLevel": "SOFTWARE"}
        if destroy_at is not None:
            resource["destroyTime"] = _time(destroy_at)
        return {
            "asset": _asset(key, resource) | {"updateTime": written},
            "priorAsset": _asset(key, {"name": key.key_version, "state": was, "protectionLevel": "SOFTWARE"}),
            "priorAssetState": "PRESENT",
            "window": {"startTime": began},
        }

    # ---------------------------------------------------------------------------------------------------------- inside

    def _gcloud(self, verb: str) -> str:
        return _GCLOUD.format(verb=verb, id=self._chance.hex(32))

    def _updated(self, key: Project, at: datetime | None, state: str) -> Made:
        return self.change(
            "UpdateCryptoKeyVersion", key, at=at, agent=self._gcloud("enable" if state == "ENABLED" else "disable"),
            cryptoKeyVersion={"name": key.key_version, "state": state}, updateMask="state",
        )  # fmt: skip

    def _use_of_another_key(self) -> Made:
        method = self._chance.one_of(_KEY_USES)
        name = f"{self._chance.one_of(self._keys)}/cryptoKeyVersions/{self._chance.between(1, 4)}"
        caller = _Caller(
            f"service-{self._around.project_number}@gs-project-accounts.iam.gserviceaccount.com", "private", ""
        )
        return self._of_key(method, self._around, name, log="data_access", caller=caller)

    def _read(self) -> Made:
        """Make a reading, one in three of the registered key: watchers read it all day."""
        name = self._around.key if self._chance.below(3) == 0 else self._chance.one_of(self._keys)
        return self._of_key(self._chance.one_of(_KEY_READS), self._around, name, log="data_access")

    def _change_of_another_key(self) -> Made:
        method = self._chance.one_of(_KEY_CHANGES)
        key = self._chance.one_of(self._keys)
        name = f"{key}/cryptoKeyVersions/{self._chance.between(1, 4)}" if method.endswith("Version") else key
        made = self._of_key(method, self._around, name)
        if method == "UpdateCryptoKeyVersion":
            made["protoPayload"]["request"] |= {"cryptoKeyVersion": {"state": "DISABLED"}, "updateMask": "state"}
        return made

    def _policy_of_people(self) -> Made:
        """Make a change of the project's policy that gives or takes people's roles: none that can use keys."""
        project = f"projects/{self._around.id}"
        made = self._entry("cloudresourcemanager.googleapis.com", "SetIamPolicy", project)
        delta = {
            "action": self._chance.one_of(("ADD", "REMOVE")),
            "role": self._chance.one_of(("roles/viewer", "roles/logging.viewer", "roles/storage.objectViewer")),
            "member": f"user:{self._chance.one_of(self._callers).email}",
        }
        made["protoPayload"]["serviceData"] = {
            "@type": "type.googleapis.com/google.iam.v1.logging.AuditData",
            "policyDelta": {"bindingDeltas": [delta]},
        }
        return made

    def _of_key(
        self, method: str, project: Project, about: str, *, log: str = "activity", at: datetime | None = None,
        caller: _Caller | None = None,
    ) -> Made:  # fmt: skip
        made = self._entry(KMS, method, about, log=log, at=at, caller=caller, project=project)
        made["protoPayload"]["request"] = {"@type": f"{_REQUEST}{method}Request", "name": about}
        _, _, _, location, _, ring, _, key, *version = about.split("/")
        labels = {"project_id": project.id, "location": location, "key_ring_id": ring, "crypto_key_id": key}
        if version:
            labels["crypto_key_version_id"] = version[1]
        made["resource"] = {
            "type": "cloudkms_cryptokeyversion" if version else "cloudkms_cryptokey",
            "labels": labels,
        }
        return made

    def _entry(
        self, service: str, method: str, resource: str, *, log: str = "activity", at: datetime | None = None,
        caller: _Caller | None = None, project: Project | None = None,
    ) -> Made:  # fmt: skip
        moment = at or self._chance.moment()
        caller = caller or self._chance.one_of(self._callers)
        project = project or self._around
        return {
            "insertId": self._chance.letters(16),
            "logName": f"projects/{project.id}/logs/cloudaudit.googleapis.com%2F{log}",
            "resource": {
                "type": "audited_resource",
                "labels": {"service": service, "method": method, "project_id": project.id},
            },
            "timestamp": _time(moment),
            "receiveTimestamp": _time(moment),
            "severity": "NOTICE" if log == "activity" else "INFO",
            "protoPayload": {
                "@type": _AUDIT,
                "status": {},
                "authenticationInfo": {"principalEmail": caller.email},
                "requestMetadata": {"callerIp": caller.address, "callerSuppliedUserAgent": caller.agent},
                "serviceName": service,
                "methodName": method,
                "resourceName": resource,
                "authorizationInfo": [{"resource": resource, "permission": "", "granted": True}],
            },
        }

    def _caller_in(self, project: Project) -> _Caller:
        return self._chance.one_of(self._callers) if project == self._around else self._new_caller(project)

    def _new_caller(self, of: Project) -> _Caller:
        return _Caller(
            f"{self._chance.word()}.{self._chance.letters(5)}@{of.stem}.example",
            f"203.0.113.{self._chance.between(1, 254)}",
            self._chance.one_of(_AGENTS),
        )


def _time(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}000Z"


def _asset(key: Project, resource: Made) -> Made:
    return {
        "name": f"//{KMS}/{key.key_version}",
        "assetType": f"{KMS}/CryptoKeyVersion",
        "resource": {
            "version": "v1",
            "discoveryDocumentUri": "https://cloudkms.googleapis.com/$discovery/rest",
            "discoveryName": "CryptoKeyVersion",
            "parent": f"//{KMS}/{key.key}",
            "data": resource,
        },
        "ancestors": [f"projects/{key.project_number}"],
    }


def _refused(record: Made, code: int, message: str, details: Sequence[Made] = ()) -> Made:
    status: Made = {"code": code, "message": message}
    record["protoPayload"]["status"] = status | ({"details": details} if details else {})
    record["severity"] = "ERROR"
    return record


# --------------------------------------------------------------------------------------------------------- deliveries


def entry_lines(records: Iterable[Made]) -> bytes:
    """Write bare records, one a line: what a pull's callback is given, or an unwrapped push."""
    return b"".join(msgspec.json.encode(record) + b"\n" for record in records)


def message(record: Made, subscription: str) -> Made:
    """Wrap a record as Pub/Sub pushes it: base64 in a message, with the subscription that it came by (gcp.md 6.3)."""
    sent = record.get("receiveTimestamp") or record["asset"]["updateTime"]
    name = record.get("insertId") or f"{record['asset']['name']} {sent}"
    number = str(int.from_bytes(name.encode()[-8:], "big"))
    return {
        "message": {
            "data": base64.b64encode(msgspec.json.encode(record)).decode(),
            "attributes": {"logging.googleapis.com/timestamp": record["timestamp"]} if "timestamp" in record else {},
            "messageId": number,
            "message_id": number,
            "publishTime": sent,
            "publish_time": sent,
        },
        "subscription": subscription,
    }
