"""What people are asked for who declare a restic repository on a page."""

from __future__ import annotations

from highball.engine.form import FormField, FormKind, FormRow, RepositoryFields

_KINDS = (
    FormKind("local", "Folder", "On a disk or share of the host", {"kind": "local"}, on_disk=True),
    FormKind("sftp", "SFTP", "A machine reachable over SSH", {"kind": "sftp"}),
    FormKind("s3", "S3", "A bucket on Amazon S3, MinIO, Wasabi and others", {"kind": "s3"}),
    FormKind("rest", "REST server", "restic's own server, optionally append-only", {"kind": "rest"}),
    FormKind("url", "Other", "Any other restic repository URL", {}, on_disk=True),
)

_WHERE = (
    FormRow(
        (
            FormField(
                slot="url",
                label="Repository URL",
                placeholder="b2:bucket:folder",
                help="In restic’s format: b2, azure, gs, swift, rclone.",
            ),
        ),
        ("url",),
    ),
    FormRow(
        (
            FormField(slot="server", label="Server", placeholder="backup.example.org"),
            FormField(slot="port", label="Port", shape="number", placeholder="22", optional=True),
            FormField(slot="user", label="User", optional=True),
        ),
        ("sftp",),
    ),
    FormRow(
        (
            FormField(
                slot="endpoint",
                label="Server address",
                placeholder="https://backup.example.org:8000",
                help="For Amazon: s3.amazonaws.com, or the endpoint of your region.",
            ),
        ),
        ("s3", "rest"),
    ),
    FormRow(
        (
            FormField(slot="bucket", label="Bucket"),
            FormField(slot="prefix", label="Folder in the bucket", optional=True),
            FormField(slot="region", label="Region", optional=True, placeholder="eu-central-1"),
        ),
        ("s3",),
    ),
    FormRow(
        (FormField(slot="path", label="Folder", placeholder="/mnt/backup/restic"),), ("local", "sftp", "rest")
    ),
    FormRow(
        (
            FormField(
                slot="identity_file",
                label="Private key",
                optional=True,
                placeholder="/etc/highball/ssh-key",
                help="A file on each host that uses the repository.",
            ),
            FormField(
                slot="known_hosts",
                label="Known hosts",
                optional=True,
                help="A file with the server’s host key.",
            ),
        ),
        ("sftp",),
    ),
    FormRow((FormField(slot="access_key_id", label="Access key ID"),), ("s3",)),
    FormRow(
        (
            FormField(
                slot="secret_access_key", label="Secret access key", shape="secret", beside="access_key_id"
            ),
        ),
        ("s3",),
    ),
    FormRow((FormField(slot="rest_username", label="User", optional=True),), ("rest",)),
    FormRow(
        (
            FormField(
                slot="rest_password", label="Password of the user", shape="secret", beside="rest_username"
            ),
        ),
        ("rest",),
    ),
    FormRow(
        (
            FormField(
                slot="environment",
                label="Environment variables",
                shape="variables",
                optional=True,
                placeholder="B2_ACCOUNT_ID=…",
            ),
        ),
        ("url",),
    ),
)

_ADMIN = (
    FormRow(
        (
            FormField(
                slot="admin.url", label="Admin address", optional=True, placeholder="same as for backups"
            ),
        )
    ),
    FormRow(
        (FormField(slot="admin.identity_file", label="Admin private key", optional=True),),
        ("sftp",),
    ),
    FormRow((FormField(slot="admin.access_key_id", label="Admin access key ID", optional=True),), ("s3",)),
    FormRow(
        (
            FormField(
                slot="admin.secret_access_key",
                label="Admin secret access key",
                shape="secret",
                beside="access_key_id",
            ),
        ),
        ("s3",),
    ),
    FormRow((FormField(slot="admin.rest_username", label="Admin user", optional=True),), ("rest",)),
    FormRow(
        (
            FormField(
                slot="admin.rest_password",
                label="Password of the admin user",
                shape="secret",
                beside="rest_username",
            ),
        ),
        ("rest",),
    ),
    FormRow(
        (
            FormField(
                slot="admin.password",
                label="Admin repository password",
                shape="secret",
                optional=True,
            ),
        )
    ),
)

RESTIC_FIELDS = RepositoryFields(
    kinds=_KINDS,
    where=_WHERE,
    password=FormField(
        slot="password",
        label="Repository password",
        shape="secret",
        help="Encrypts everything. Without it nobody can restore, not even you.",
        may_be_made=True,
    ),
    besides=(
        FormRow(
            (
                FormField(
                    slot="certificate",
                    label="Additional trusted certificates",
                    optional=True,
                    placeholder="/etc/highball/ca.pem",
                ),
            )
        ),
    ),
    example="sftp:backup@nas:/srv/restic",
    admin=_ADMIN,
)
"""The form of a restic repository."""
