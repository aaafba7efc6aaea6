"""``fleetgym envs`` and ``fleetgym info ID``."""

from typing import Annotated

import typer

EnvId = Annotated[
    str, typer.Argument(metavar="ID", help="Environment, with or without fleetgym/ and -v0.")
]


def envs() -> None:
    """List the environments and their scenarios."""
    from fleetgym.envs.core.registration import families
    from fleetgym.scripts.console import table

    rows = [(f.id, ", ".join(f.scenarios()), f.summary) for f in families().values()]
    table(("id", "scenarios", "what"), rows)


def info(
    id: EnvId,
    scenario: Annotated[
        str | None, typer.Option(help="Show this scenario's fields too.", metavar="NAME")
    ] = None,
) -> None:
    """Show an environment's scenarios, policies and, of one scenario, fields and spaces."""
    from fleetgym.envs.core.registration import family_of
    from fleetgym.scripts.console import say, table
    from fleetgym.scripts.policies import policies_of

    family = family_of(id)
    say(f"{family.id}: {family.summary}\n")
    scenarios = family.scenarios()
    rows = [(name, one.workload, one.control) for name, one in scenarios.items()]
    table(("scenario", "workload", "control"), rows)
    say()
    named = policies_of(family).values()
    table(("policy", "budget (s)", "what"), [(p.name, f"{p.seconds:g}", p.summary) for p in named])
    if scenario is not None:
        resolved = family.scenario(scenario)
        say()
        table(("field", "value"), list(resolved.as_dict().items()))
        say()
        simulator = family.simulate(resolved, family.workloads(resolved), 1)
        for name, role in simulator.roles.items():
            say(f"role {name}: {len(role.agents)} agent(s)")
            say(f"  action space: {role.action_space}")
            for entry, space in role.observation_space.spaces.items():
                say(f"  observation {entry}: {space}")
