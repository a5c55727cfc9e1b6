"""From a finished run directory to metrics, summary, plots and report; never touches the network."""
