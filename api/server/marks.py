"""What the bridge and the views tell each other in a request's environ."""

#: set by a view whose answer takes long: True, and it gets a thread of its own; or the Feed that another thread fills
STREAM = "wanfarm.stream"
#: () -> whether the client hung up
GONE = "wanfarm.gone"
#: set by whoever finds out whose request it is
TENANT = "wanfarm.tenant"
