"""The description that the server gives of itself, and Schemathesis over it."""

import pytest
from hypothesis import HealthCheck, given, settings

from isthmus.service.http.bodies import EventsBody, LoadBody, RankBody, RecommendBody

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")
EXAMPLES = 30
CHECKS = [
    schemathesis.checks.not_a_server_error,
    schemathesis.checks.status_code_conformance,
    schemathesis.checks.content_type_conformance,
    schemathesis.checks.response_schema_conformance,
    schemathesis.checks.unsupported_method,
]
"""All but those that bodies of the right form are taken: some texts are of it, and no ids (NUL)."""


@pytest.mark.slow
def test_the_server_is_as_it_describes_itself(worn):
    schema = schemathesis.openapi.from_url(f"{worn.base_url}/v1/openapi.json")
    tried = set()
    for found in schema.get_all_operations():
        operation = found.ok()

        @settings(
            max_examples=EXAMPLES,
            derandomize=True,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def conforms(case):
            case.call_and_validate(checks=CHECKS)

        conforms()
        tried.add(operation.label)
    assert {"POST /v1/recommend", "POST /v1/events", "DELETE /v1/users/{user}"} <= tried


def test_the_description_has_bodies_replies_and_refusals(client):
    found = client.get("/v1/openapi.json").json()
    names = found["components"]["schemas"]
    for body in (RecommendBody, RankBody, EventsBody, LoadBody):
        assert set(names[body.__name__]["properties"]) == set(body.model_fields)
        assert names[body.__name__]["additionalProperties"] is False
    assert {"Reply", "Recommended", "Why", "Flags", "Kept", "Verdict", "Refusal"} <= set(names)
    for path, methods in found["paths"].items():
        for of in methods.values():
            assert of["summary"], path
            if path.startswith("/v1") and path != "/v1/report":
                assert of["responses"]["422"]["content"]["application/json"]
