"""Views fold the event stream into a state and draw it: live tree, plain lines, JSON lines."""
