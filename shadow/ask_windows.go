package shadow

import "os"

// Asks are the signals that ask a run for its report: Windows has none to spare.
var Asks []os.Signal
