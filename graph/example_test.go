package graph_test

import (
	"fmt"

	"tandem/graph"
)

// A body names its calls; the bytes themselves go on to the bot as they came.
func ExampleDecode() {
	m, err := graph.Decode([]byte(`{"value":[{
		"changeType": "created",
		"resource": "/app/calls/57DAB8B1-894C-409A-B240-BD8BEAE78896",
		"resourceData": {"@odata.type": "#microsoft.graph.call", "state": "incoming"}
	}]}`), graph.Limits{})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, n := range m.Notifications {
		fmt.Println(n.CallID, n.Type, n.State)
	}
	_, err = graph.Decode([]byte(`{"value": 7}`), graph.Limits{})
	fmt.Println(err)
	// Output:
	// 57dab8b1894c409ab240bd8beae78896 call incoming
	// the body is no notification: its value is no array
}
