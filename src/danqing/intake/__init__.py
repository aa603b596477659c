"""Pictures that clients send: checked, decoded in a process that is good for nothing else, and rebuilt from pixels."""
