"""What a choice in the settings needs beside itself: other variables, a package."""

import importlib.util
from collections.abc import Mapping
from typing import Any

# Provider: the extra that brings its SDK, and the SDK.
EXTRAS = {
    "anthropic": ("anthropic", "anthropic"),
    "openai": ("openai", "openai"),
    "azure_openai": ("openai", "openai"),
}
PROVIDER_NEEDS = {
    "echo": (),
    "anthropic": ("LLM_MODEL", "ANTHROPIC_API_KEY"),
    "openai": ("LLM_MODEL", "OPENAI_API_KEY"),
    "azure_openai": ("LLM_MODEL", "AZURE_OPENAI_API_KEY", "AZURE_OPENAI_ENDPOINT"),
}
"""The providers of answers, and what each cannot do without."""


def provider_faults(
    given: Mapping[str, str], provider: str | None, remedies: Mapping[str, str]
) -> list[str]:
    """What the provider cannot do without and is not given."""
    return [
        f"{name} is not set, and LLM_PROVIDER={provider} needs it. {remedies[name]}"
        for name in PROVIDER_NEEDS.get(provider or "", ())
        if name not in given
    ]


def extra_faults(values: Mapping[str, Any]) -> list[str]:
    """What is asked for and needs a package that is not here."""
    provider, endpoint = values["llm_provider"], values["otel_exporter_otlp_endpoint"]
    asked = {f"LLM_PROVIDER={provider}": EXTRAS.get(provider)}
    if endpoint is not None:
        asked["OTEL_EXPORTER_OTLP_ENDPOINT"] = ("otel", "opentelemetry.sdk")
    return [
        f"{name} needs a package that is not installed. Install camp[{needed[0]}], or unset it."
        for name, needed in asked.items()
        if needed is not None and not _installed(needed[1])
    ]


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # not even the package around it
        return False
