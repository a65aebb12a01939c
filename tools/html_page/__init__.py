"""What the project's self-contained HTML pages share: style, pictures, plots."""
