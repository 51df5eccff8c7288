"""After descriptors: more than were granted, and more of those that were."""
