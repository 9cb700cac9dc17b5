"""The same rates per GPU as others would write them: one message for each GPU and tick, one state for each GPU."""
