package lifecycle

// NodeQuarantined is the code of a node's error that says that too much failed on it.
const NodeQuarantined = "NodeQuarantined"
