"""What a figure or table says of its run, so that it can be told apart from that of another one."""

from reports.analysis import Analysis
from reports.wording import several


def run_line(analysis: Analysis) -> str:
    """Data, connector, N x M, batch, seeds and commit, in one line."""
    manifest = analysis.manifest
    data = manifest.sweep.get("data")
    named = data if isinstance(data, dict) else {}
    batches = sorted({r.summary.batch_size for r in analysis.methods.values() if r.summary.batch_size})
    commit = str(manifest.provenance.get("commit") or "")
    connector = manifest.connector.get("kind", "connector")
    layers = manifest.connector.get("hidden_layers")
    parts = [
        manifest.name,
        str(named.get("name") or named.get("kind") or ""),
        f"{connector}" + (f", {layers} hidden layers" if layers else ""),
        f"{len(manifest.image_encoders)} x {len(manifest.text_encoders)} encoders",
        f"batch {several([str(batch) for batch in batches])}" if batches else "",
        f"seeds {several([str(seed) for seed in manifest.seeds], 5)}",
        f"commit {commit[:9]}{'+' if commit.endswith('+') else ''}" if commit else "",
    ]
    return " · ".join(part for part in parts if part)
