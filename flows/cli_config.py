"""The command ``syn4seg config``."""

from __future__ import annotations

from flows.console import AsJson, Overrides, Source, print_json
from flows.settings import explain_config, load_config


def config(config: Source = None, /, *, set_: Overrides = None, json_: AsJson = False) -> None:
    """Print all settings of a config with their values and what they mean, as YAML that can be used as a config.

    syn4seg config                                 every setting there is; picto's values
    syn4seg config | grep similarity               find one
    syn4seg config pascal5i_fold0+sd15 > my.yaml   begin with a file of your own
    """
    chosen = load_config(config, set_ or ())
    if json_:
        print_json(chosen.model_dump(mode="json"))
    else:
        print(explain_config(chosen), end="")
