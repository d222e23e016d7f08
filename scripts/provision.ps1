#Requires -Version 5.1
#Requires -RunAsAdministrator
<#
.SYNOPSIS
  Makes this Windows machine a node of Tandem: program, folders with rights, firewall rules, service.
.DESCRIPTION
  Run it again after every change: what is right already stays as it is, and the old
  configuration stays in force if the new one does not hold. The folder of secrets comes from
  scripts/sign, by a way that nobody else reads: ca.crt, node.crt, node.key, public.crt,
  public.key, handle-keys, tokens.yaml. It holds no authority's key.
.EXAMPLE
  .\provision.ps1 -Program .\tandem.exe -Config .\tandem.yaml -Secrets .\emea-1 -ClusterPeers 10.0.0.2,10.0.0.3
#>
[CmdletBinding()]
param(
  [Parameter(Mandatory)] [string] $Program,       # tandem.exe of a release
  [Parameter(Mandatory)] [string] $Config,        # the node's configuration; its paths are below %ProgramData%\Tandem
  [string] $Secrets,                              # folder made by scripts/sign; absent: they are in place
  [string[]] $ClusterPeers = @(),                 # addresses that may reach the cluster port; none: nobody
  [int] $PublicPort = 8443,
  [int] $ClusterPort = 8471
)
Set-StrictMode -Version 3
$ErrorActionPreference = 'Stop'

$home_ = Join-Path $env:ProgramData 'Tandem'
$bin = Join-Path $env:ProgramFiles 'Tandem'
$exe = Join-Path $bin 'tandem.exe'
$account = 'NT SERVICE\Tandem'

function Invoke-Tandem {
  & $exe @args
  if ($LASTEXITCODE -ne 0) { throw "tandem $($args -join ' ') ended with $LASTEXITCODE" }
}

if ($Secrets -and (Get-ChildItem -LiteralPath $Secrets -Filter 'ca-key.pem' -Recurse)) {
  throw "$Secrets holds an authority's key: it stays where it signs; copy this machine's folder only"
}

# The program. A service that runs keeps its file: it drains and stops first.
New-Item -ItemType Directory -Force -Path $bin, $home_, "$home_\data", "$home_\tls" | Out-Null
$service = Get-Service -Name 'Tandem' -ErrorAction SilentlyContinue
$new = -not (Test-Path $exe) -or (Get-FileHash $exe).Hash -ne (Get-FileHash $Program).Hash
if ($new -and $service -and $service.Status -ne 'Stopped') { Invoke-Tandem service stop }
if ($new) { Copy-Item -LiteralPath $Program -Destination $exe -Force }
if (-not $service) { Invoke-Tandem service install --config "$home_\tandem.yaml" }

# Rights: the folder is the system's, the administrators' and the service's. What is below
# inherits that, so keys and data are nobody else's. *S-1-5-18 and *S-1-5-32-544 are SYSTEM
# and Administrators in every language.
& icacls $home_ /inheritance:r /grant:r '*S-1-5-18:(OI)(CI)F' '*S-1-5-32-544:(OI)(CI)F' "${account}:(OI)(CI)RX" | Out-Null
if ($LASTEXITCODE -ne 0) { throw "icacls $home_ ended with $LASTEXITCODE" }
& icacls "$home_\data" /grant:r "${account}:(OI)(CI)M" | Out-Null
if ($LASTEXITCODE -ne 0) { throw "icacls $home_\data ended with $LASTEXITCODE" }

if ($Secrets) {
  foreach ($file in 'ca.crt', 'node.key', 'public.crt', 'public.key', 'node.crt') {
    Copy-Item -LiteralPath (Join-Path $Secrets $file) -Destination "$home_\tls\$file" -Force
  }
  foreach ($file in 'handle-keys', 'tokens.yaml') {
    Copy-Item -LiteralPath (Join-Path $Secrets $file) -Destination "$home_\$file" -Force
  }
}

# The old configuration stays if the new one does not hold.
Invoke-Tandem config validate --config $Config
Copy-Item -LiteralPath $Config -Destination "$home_\tandem.yaml" -Force

# The calling cloud comes from anywhere; the cluster port is for the other nodes alone. The
# admin door is on loopback and gets no rule.
Get-NetFirewallRule -Group 'Tandem' -ErrorAction SilentlyContinue | Remove-NetFirewallRule
New-NetFirewallRule -Group 'Tandem' -DisplayName 'Tandem public door' -Direction Inbound -Action Allow `
  -Program $exe -Protocol TCP -LocalPort $PublicPort | Out-Null
if ($ClusterPeers.Count -gt 0) {
  New-NetFirewallRule -Group 'Tandem' -DisplayName 'Tandem cluster port' -Direction Inbound -Action Allow `
    -Program $exe -Protocol TCP -LocalPort $ClusterPort -RemoteAddress $ClusterPeers | Out-Null
}

if ((Get-Service -Name 'Tandem').Status -eq 'Stopped') { Invoke-Tandem service start } else { Invoke-Tandem reload }
Write-Output "If this node's region is new, found it now, once: tandem found --wait 60s"
