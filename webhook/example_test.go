package webhook_test

import (
	"fmt"

	"tandem/webhook"
)

// The callback URI of a call says where it belongs, and cannot be made by others.
func ExampleHandles() {
	handles, err := webhook.NewHandles([]webhook.Key{{ID: "k1", Secret: []byte("thirty-two bytes that nobody knows")}})
	if err != nil {
		fmt.Println(err)
		return
	}
	of := webhook.Handle{Region: "emea", Partition: 10, Epoch: 2, Ref: "57dab8b1894c409ab240bd8beae78896"}
	signature := handles.Sign(of)
	fmt.Println(handles.Verify(of, signature))
	of.Epoch = 3
	fmt.Println(handles.Verify(of, signature) != nil)
	// Output:
	// <nil>
	// true
}
