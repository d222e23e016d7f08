// Package azure speaks with the Instance Metadata Service (IMDS) of the machine that a
// node runs on: it gets the tokens of a managed identity, hears of announced maintenance
// and lets that begin.
//
// IMDS is plain HTTP at a link-local address that only the machine itself reaches, and
// wants the header "Metadata: true" on each request, so that nobody is sent there by
// mistake. It must not be asked through a proxy.
//
// Sources, as of 2026:
//
//   - https://learn.microsoft.com/azure/virtual-machines/instance-metadata-service
//   - https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token
//   - https://learn.microsoft.com/azure/virtual-machines/linux/scheduled-events
package azure
