"""What the appendix of the DLD paper looks at, computed for any spotter and any data set."""
