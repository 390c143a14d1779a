// Made by dashboards/source; do not change it by hand. Override these fields where you use the mixin.
{
  _config+:: {
    // Where the runbooks are; %s is the alert's name.
    runbookURLPattern: 'http://localhost:9847/runbooks/%s',
    // What the severities are called where alerts are routed.
    severities: { page: 'page', warning: 'warning' },
    // Tags of the dashboards, beside their own.
    dashboardTags: [],
    // What the dashboards are refreshed by and begin with, where it is set, such as '1m' and 'now-1d'.
    dashboardRefresh: null,
    dashboardFrom: null,
  },
}
